"""Check that isolated apps can be forked: their gunicorn has to be a release that is known here."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from reconciler.inspection.checks.check import Check
from reconciler.manifests.catalog import Catalog
from reconciler.settings.settings import Settings

_SUBJECT = "fork servers"


def gunicorns(settings: Settings, catalog: Catalog) -> Iterator[Check]:
    """Check the gunicorn of each environment, on a host that has isolated apps."""
    from reconciler.serving.forkserver.gunicorn_releases import NEWEST, RELEASES, why_unknown

    if not any(app.isolation for app in catalog.apps.values()):
        return
    found = Counter(_installed(settings.paths.environments))
    unknown = sorted({*found} - {*RELEASES.values()})
    for release in unknown:
        many = f"{found[release]} environment{'s' if found[release] > 1 else ''}"
        told = (
            f"{many}: {why_unknown(release)}; an isolated app with it is executed, which takes longer than to fork it"
        )
        advice = f"update reconciler, or ask for gunicorn=={NEWEST} in the requirements of those apps"
        yield Check(level="warn", subject=_SUBJECT, found=told, advice=advice)
    if found and not unknown:
        yield Check(level="ok", subject=_SUBJECT, found="isolated apps can be forked: each gunicorn is a known release")


def _installed(environments: Path) -> Iterator[str]:
    from reconciler.serving.forkserver.gunicorn_releases import installed

    for packages in environments.glob("*/lib/python*/site-packages"):
        with suppress(OSError):
            if release := installed(packages):
                yield release
