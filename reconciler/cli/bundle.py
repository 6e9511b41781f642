"""`reconciler bundle`: everything an app needs as wheels in one file, for staging without an index."""

import asyncio
import os
from pathlib import Path

import click

from reconciler.cli.options import examples, state_option, with_settings
from reconciler.inspection.printable import plain
from reconciler.settings.settings import Settings


@click.command(
    epilog=examples(
        "reconciler bundle ../apps/blog",
        "reconciler bundle ../apps/blog --runtime python3.12",
        "reconciler bundle ../apps/shop --dependencies uv.lock --extra postgres",
    )
)
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--runtime", help="The Python it is for.  [default: what the app's files ask for]")
@click.option("--entrypoint", help="The module and callable, when they cannot be found.")
@click.option("--dependencies", help="The file that lists what to install, when there are several.")
@click.option("--extra", "extras", multiple=True, help="An extra to bundle as well.")
@click.option("--group", "groups", multiple=True, help="A dependency group to bundle as well.")
@with_settings(state_option)
def command(
    settings: Settings,
    path: Path,
    extras: tuple[str, ...],
    groups: tuple[str, ...],
    **recipe: str | None,
) -> None:
    """Write PATH/app.bundle: wheels of all that the app in PATH needs, with hashes, built where there are none.

    Staging then asks no index. Make it again when the dependencies change: a bundle of others is refused.
    """
    import uv

    from reconciler.host.assembly import package_environ
    from reconciler.planning.desired import Recipe
    from reconciler.staging.detection.runtimes import discover
    from reconciler.staging.environments.bundle import BundleRequest, bundle
    from reconciler.staging.errors import StagingError

    log = settings.paths.cache / "bundle.log"
    bundling = BundleRequest(
        cache=settings.paths.cache,
        uv=os.fsdecode(uv.find_uv_bin()),
        runtimes=discover(settings.interpreters),
        environ=package_environ(settings, os.environ),
        timeout_s=settings.staging_timeout_s,
        log=log,
        progress=lambda phase: click.echo(plain(str(phase)), err=True),
    )
    try:
        made = asyncio.run(bundle(path.resolve(), Recipe(extras=extras, groups=groups, **recipe), bundling))
    except (StagingError, OSError) as error:
        why = f"cannot bundle {plain(str(path))}: {plain(str(error))}"
        raise click.ClickException(f"{why}\nall that was said is in {log}") from error
    size = made.file.stat().st_size / 2**20
    click.echo(f"wrote {made.file}: {len(made.wheels)} wheels for {made.runtime}, {size:.1f} MB")
