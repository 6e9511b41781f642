"""Write an app as an image, without Docker.

Stages APP and writes an OCI image layout: the layers of a base, and above them the app's environment, its code, and
what starts it. The same source and manifest give the same bytes on every host and for every user. The base is an OCI
layout as well, as 'skopeo copy docker://python@sha256:… oci:DIR' writes it, with the Python that the app runs on.
Secrets and services are not in the image: what it has to be given where it runs is told. Needs no daemon and no root.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import examples, json_option
from reconciler.cli.preparing import prepared, preparing_options
from reconciler.cli.table import show_json
from reconciler.inspection.printable import plain

if TYPE_CHECKING:
    from reconciler.settings.settings import Settings


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler image shop --base python-3.12 --output shop-image",
        "skopeo copy oci:shop-image docker://registry.example.com/web/shop:1",
    ),
)
@click.argument("app")
@click.option(
    "--base",
    required=True,
    metavar="DIR[@DIGEST]",
    help="The OCI layout of the image to build upon, and the digest of one of several in it.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="The OCI layout to write; an image that is in it is replaced.",
)
@click.option(
    "--compression",
    type=click.Choice(("gzip", "none")),
    default="gzip",
    show_default=True,
    help="Compress the layers, or not: then the digest is the same whichever zlib a host has.",
)
@json_option
@preparing_options
def command(  # noqa: PLR0913, PLR0917  one for each option
    app: str, base: str, output: Path, compression: str, as_json: bool, settings: "Settings", timeout_s: float
) -> None:
    from reconciler.daemon.foreground.image import ImageRequest
    from reconciler.daemon.foreground.wanted import Wanted

    directory, _, digest = base.partition("@")
    request = ImageRequest(
        output=output.absolute(),
        base=Path(directory).absolute(),
        base_digest=digest,
        compression="none" if compression == "none" else "gzip",
    )
    wanted = Wanted(app=app, release=False, supplied=False)
    made = prepared(settings, wanted, timeout_s, lambda daemon: daemon.image(wanted, request))
    if as_json:
        layers = {each.role: {"digest": f"sha256:{each.digest}", "size": each.size} for each in made.layers}
        show_json({"app": app, "image": made.digest, "layers": layers, "to_give": [*made.to_give]})
        return
    click.echo(f"{plain(str(output))}@{made.digest}")
    for each in made.to_give:
        click.echo(f"to be given where it runs: {plain(each)}", err=True)
