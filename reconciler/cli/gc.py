"""Remove unused environments, and what interrupted backups left.

Removes the environments that no build refers to and whose retention is over, as the daemon does every hour. Safe while
the daemon is running: environments that are being created or used stay.

With --images, also deletes from registries the images of placed apps that this installation pushed and that no revision
needs any more, with the local layouts of apps that are gone. An image that another installation has tagged stays.
"""

import asyncio
import os
import subprocess
from dataclasses import replace

import click

from reconciler.cli.options import DURATION, examples, json_option, open_snapshot, paths_to_change, with_settings
from reconciler.cli.table import show_json
from reconciler.inspection.printable import plain
from reconciler.settings.settings import Settings


@click.command(
    help=__doc__,
    epilog=examples("reconciler gc", "reconciler gc --older-than 0s --cache", "reconciler gc --images --dry-run"),
)
@click.option(
    "--older-than", type=DURATION, help="Keep anything used within this time.  [default: the host's retention, 7d]"
)
@click.option(
    "--cache", is_flag=True, help="Also remove what uv's cache has no use for, and isolated apps' own caches."
)
@click.option("--images", is_flag=True, help="Also delete images that no revision needs from the clusters' registries.")
@click.option(
    "--dry-run", is_flag=True, help="With --images: only say which images would be deleted, and remove nothing."
)
@json_option
@with_settings()
def command(  # noqa: PLR0913, PLR0917  an option each
    settings: Settings, older_than: float | None, cache: bool, images: bool, dry_run: bool, as_json: bool
) -> None:
    import uv

    from reconciler.host.staging_settings import collect, remove_own_caches, stager_of

    if dry_run and not images:
        raise click.UsageError("--dry-run is for --images")
    paths_to_change(settings.paths.state)
    if older_than is not None:
        settings = replace(settings, retention_s=older_than)
    gone, stay = _remove_images(settings, dry_run=dry_run) if images else ([], [])
    if dry_run:
        _show_images(gone, stay, "would remove", as_json=as_json)
        return
    removed = collect(settings, stager_of(settings))
    scratch = asyncio.run(_remove_scratch(settings))
    if cache:
        prune = [os.fsdecode(uv.find_uv_bin()), "cache", "prune", "--quiet", "--cache-dir"]
        subprocess.run([*prune, str(settings.paths.cache / "uv")], check=False)
    caches = remove_own_caches(settings) if cache else ()
    if as_json:
        show_json(
            {
                "environments": list(removed),
                "scratch": list(scratch),
                "caches": list(caches),
                "images": gone,
                "kept": stay,
            }
        )
    elif removed or scratch or caches or gone or stay:
        lines = [f"removed environment {key}" for key in removed]
        lines += [f"removed the cache of the builds of {name}" for name in caches]
        lines += [f"removed {name}, which an interrupted backup left" for name in scratch]
        click.echo("\n".join([*lines, *_told(gone, stay, "removed")]))
    else:
        click.echo("nothing to remove")


def _remove_images(settings: Settings, *, dry_run: bool) -> tuple[list[str], list[str]]:
    """Remove images, and return those that are gone, and what stays and why."""
    from reconciler.daemon.image_collection import collect_images

    removed = collect_images(settings, settings.retention_s, dry_run=dry_run)
    return removed.images, [plain(each) for each in removed.kept]


def _show_images(gone: list[str], stay: list[str], what: str, *, as_json: bool) -> None:
    if as_json:
        show_json({"images": gone, "kept": stay})
    else:
        click.echo("\n".join(_told(gone, stay, what)) or "nothing to remove")


def _told(gone: list[str], stay: list[str], what: str) -> list[str]:
    return [*(f"{what} image {each}" for each in gone), *(f"kept {each}" for each in stay)]


async def _remove_scratch(settings: Settings) -> tuple[str, ...]:
    """Remove what killed backups and verifications of services have left, and return the names."""
    if not settings.paths.backups.is_dir():
        return ()
    from reconciler.services.backup_verification import remove_abandoned
    from reconciler.services.provisioner import ServiceSpec
    from reconciler.services.server_choice import spec_of

    with open_snapshot(settings.paths) as snapshot:
        snapshot.key_file = settings.key
        known = {record.id: record for record in snapshot.service_records.services()}

        def spec(service: str) -> ServiceSpec | None:
            record = known.get(service)
            return None if record is None else spec_of(record, snapshot.service_records.asked(record.id), settings)

        return await remove_abandoned(settings.paths.backups, spec)
