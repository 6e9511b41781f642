"""Bundle an app's packages into one file, to stage it offline.

Writes PATH/app.bundle: wheels of everything the app in PATH needs, with their hashes; packages without a wheel are
built. Staging then needs no package index. Bundle again when the dependencies change: staging refuses an outdated
bundle.
"""

import asyncio
import os
from pathlib import Path

import click

from reconciler.cli.options import examples, json_option, without_daemon
from reconciler.cli.table import show_json
from reconciler.inspection.printable import plain
from reconciler.planning.wording import counted
from reconciler.settings.settings import Settings


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler bundle ../apps/blog",
        "reconciler bundle ../apps/blog --runtime python3.12",
        "reconciler bundle ../apps/shop --dependencies uv.lock --extra postgres",
    ),
)
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--runtime", help="The Python to bundle for.  [default: the one the app's files ask for]")
@click.option("--entrypoint", help="The module and callable, such as wsgi:application, if they cannot be detected.")
@click.option("--dependencies", help="The dependency file to use, if there are several.")
@click.option("--extra", "extras", multiple=True, help="Also bundle this extra; may be repeated.")
@click.option("--group", "groups", multiple=True, help="Also bundle this dependency group; may be repeated.")
@json_option
@without_daemon()
def command(  # noqa: PLR0913, PLR0917  one for each option
    settings: Settings,
    path: Path,
    extras: tuple[str, ...],
    groups: tuple[str, ...],
    runtime: str | None,
    entrypoint: str | None,
    dependencies: str | None,
    as_json: bool,
) -> None:
    import uv

    from reconciler.host.staging_settings import package_environ
    from reconciler.planning.apps.revision import Recipe
    from reconciler.staging.detection.runtimes import discover
    from reconciler.staging.environments.bundle import BundleRequest, bundle
    from reconciler.staging.errors import StagingError

    recipe = Recipe(runtime=runtime, entrypoint=entrypoint, dependencies=dependencies, extras=extras, groups=groups)
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
        made = asyncio.run(bundle(path.resolve(), recipe, bundling))
    except (StagingError, OSError) as error:
        why = f"cannot bundle {plain(str(path))}: {plain(str(error))}"
        raise click.ClickException(f"{why}\nthe full output is in {log}") from error
    if as_json:
        show_json({"file": str(made.file), "runtime": made.runtime, "wheels": [*made.wheels]})
        return
    size = made.file.stat().st_size / 2**20
    click.echo(f"wrote {made.file}: {counted(len(made.wheels), 'wheel')} for {made.runtime}, {size:.1f} MB")
