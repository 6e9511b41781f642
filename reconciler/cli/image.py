"""Write an app as an image, without Docker.

Stages APP and writes an OCI image layout: the layers of a base, and above them the app's environment, its code, and
what starts it. The same source and manifest give the same bytes on every host and for every user. The base is an OCI
layout as well, as 'skopeo copy docker://python@sha256:… oci:DIR' writes it, with the Python that the app runs on.
Secrets and services are not in the image: the command prints what it has to be given where it runs. Needs no daemon and
no root.

With --push, the image goes to a registry, which is sent only what it lacks; the command prints its name there, by
digest. Logins are read from a Docker configuration, or asked of the credential helper that it names.
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import examples, json_option
from reconciler.cli.preparing import prepared, preparing_options
from reconciler.cli.pushing import push_options
from reconciler.cli.table import show_json
from reconciler.inspection.printable import plain

if TYPE_CHECKING:
    from reconciler.cli.pushing import PushOptions
    from reconciler.settings.settings import Settings


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler image shop --base python-3.12 --output shop-image",
        "reconciler image shop --base python-3.12 --push registry.example.com/web/shop:1 --mount-from web/python",
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
    metavar="DIR",
    help="The OCI layout to write; an image that is in it is replaced. Required without --push."
    "  [default: images/APP in the state directory]",
)
@click.option(
    "--compression",
    type=click.Choice(("gzip", "none")),
    default="gzip",
    show_default=True,
    help="Compress the layers, or not: then the digest is the same whichever zlib a host has.",
)
@click.option(
    "--push",
    metavar="HOST[:PORT]/REPOSITORY[:TAG]",
    help="Push the image to this repository of a registry, which gives it the tag, if there is one.",
)
@push_options
@json_option
@preparing_options
def command(  # noqa: PLR0913, PLR0917  one for each option
    app: str,
    base: str,
    output: Path | None,
    compression: str,
    push: str | None,
    options: "PushOptions",
    as_json: bool,
    settings: "Settings",
    timeout_s: float,
) -> None:
    from reconciler.daemon.foreground.image import ImageRequest
    from reconciler.daemon.foreground.wanted import Wanted

    if output is None and push is None:
        raise click.UsageError("give a directory with --output, or a registry with --push")
    to = options.destination(push) if push is not None else None
    directory, _, digest = base.partition("@")
    request = ImageRequest(
        output=(output or settings.paths.images / app).absolute(),
        base=Path(directory).absolute(),
        base_digest=digest,
        compression="none" if compression == "none" else "gzip",
    )
    wanted = Wanted(app=app, release=False, supplied=False)
    made = prepared(settings, wanted, timeout_s, lambda daemon: daemon.image(wanted, request))
    pushed = options.push(app, request.output, made.digest, to) if to is not None else None
    if as_json:
        layers = {each.role: {"digest": f"sha256:{each.digest}", "size": each.size} for each in made.layers}
        told = {"pushed": asdict(pushed)} if pushed is not None else {}
        show_json({"app": app, "image": made.digest, "layers": layers, "to_give": [*made.to_give], **told})
        return
    click.echo(pushed.name if pushed is not None else f"{plain(str(output))}@{made.digest}")
    for each in made.to_give:
        click.echo(f"to be given where it runs: {plain(each)}", err=True)
