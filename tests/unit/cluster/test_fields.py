"""No field of a manifest is left out of an export: each changes an object or the image, or is told, or refused.

The fields are those of the schema, so one that is added fails here until it is decided what becomes of it.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.cluster.fields import FIELDS, verdict_of
from reconciler.cluster.target import Target
from reconciler.planning.apps.app import App
from reconciler.serving.programs.gunicorn import Code, InstancePaths, config_text
from tests.support.exported import GATEWAY, INGRESS, TARGET, app_of, export
from tests.support.manifest_fields import ALL, VALUES, context, parts_of, value_of, with_field


def image_of(app: App) -> tuple[Any, ...]:
    """Return what of an app its image depends on."""
    nowhere = Path("/nowhere")
    paths = InstancePaths(
        revisions=nowhere, readiness=nowhere, home=nowhere, scratch=nowhere, log=nowhere, access_log=nowhere,
        wakeup_file=nowhere, foreground=True,
    )  # fmt: skip
    code = Code(directory="/code", python="/python", target="wsgi:app", worker_class="sync", runtime="python3.12")
    anywhere = app if app.address is not None else replace(app, address=None)
    config = config_text(replace(anywhere.revision("content"), build=app.build("")), code, paths, app.workers)
    lines = [line for line in config.splitlines() if not line.startswith(("#", "bind"))]
    return replace(app.source, pinned=""), app.in_git, app.recipe, lines


def told(path: str) -> str:
    """How a field is named in what is told of it."""
    return ".".join(parts_of(path))


def with_fate(fate: str) -> list[str]:
    """The fields that come to the same: of a mapped one only those of which it is said how."""
    found = [path for path in ALL if (verdict := verdict_of(path)) is not None and verdict.fate == fate]
    return sorted({*found} & {*FIELDS} if fate == "mapped" else {*found})


@pytest.mark.parametrize("path", ALL)
def test_every_field_of_the_schema_has_a_fate(path: str) -> None:
    is_container = any(other.startswith(f"{path}.") for other in ALL)
    verdict = verdict_of(path)
    assert verdict is not None or is_container, f"decide what becomes of {path} in a cluster, in FIELDS"


def test_the_table_names_no_field_that_the_schema_does_not_have() -> None:
    assert set(FIELDS) <= set(ALL)


@pytest.mark.parametrize("path", [path for path in with_fate("mapped") if path != "name"])
def test_a_mapped_field_changes_an_object(path: str) -> None:
    targets: tuple[Target, ...] = (TARGET, GATEWAY, INGRESS)
    before = context(path)
    after = with_field(before, path, value_of(path))
    pairs = [(export(before, target), export(after, target)) for target in targets]
    assert all(not one.refusals and (not other.refusals or other.objects == ()) for one, other in pairs)
    changed = [
        (one, other) for one, other in pairs
        if not other.refusals and (one.objects, one.missing) != (other.objects, other.missing)
    ]  # fmt: skip
    assert changed, [str(each) for _, other in pairs for each in other.refusals]


@pytest.mark.parametrize("path", with_fate("image"))
def test_a_field_of_the_image_changes_what_the_image_is_made_of(path: str) -> None:
    before = context(path)
    after = with_field(before, path, value_of(path))
    if path == "source" or path.startswith("source."):
        assert app_of({"source": VALUES["source"]}).in_git is not None
        return
    assert image_of(app_of(before)) != image_of(app_of(after))


@pytest.mark.parametrize("path", with_fate("told"))
def test_a_field_that_differs_is_told(path: str) -> None:
    found = export(with_field(context(path), path, value_of(path)), GATEWAY)
    assert told(path) in [note.path for note in found.notes]


@pytest.mark.parametrize("path", with_fate("refused"))
def test_a_refused_field_is_refused_at_its_line_with_a_remedy(path: str) -> None:
    document = with_field(context(path), path, value_of(path))
    found = export(document, GATEWAY)
    assert found.objects == ()
    at = [each for each in found.refusals if told(path).startswith(each.path) or each.path.startswith(told(path))]
    assert at, [str(each) for each in found.refusals]
    assert all(each.line > 1 and ": " in each.message for each in at)


@pytest.mark.parametrize("path", with_fate("host"))
def test_a_field_of_the_host_changes_nothing(path: str) -> None:
    before = context(path)
    after = with_field(before, path, value_of(path))
    assert export(before).objects == export(after).objects
