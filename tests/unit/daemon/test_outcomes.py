"""What clients that wait are told of refused files: all of it, but of a file with very many apps."""

import pytest

from reconciler.daemon import outcomes
from reconciler.documents.problem import Problem
from reconciler.manifests.manifest_file import ManifestFile
from reconciler.manifests.parse_file import Parsed
from reconciler.planning.subject import Subject


@pytest.mark.parametrize(("apps", "told"), [(1, 100), (3, 100), (10, 100), (100, 10), (1000, 1)])
def test_each_app_of_a_refused_file_is_told_as_much_as_all_of_them_can_be(apps: int, told: int) -> None:
    found = [Problem(file="/m/a.yaml", line=line, column=1, path="", message="no") for line in range(1, 101)]
    subjects = tuple(Subject("app", f"shop-{number}") for number in range(apps))
    entry = ManifestFile(file="/m/a.yaml", origin="/m", problems=tuple(found), parsed=Parsed(subjects=subjects))
    shown = outcomes._refused([entry])
    assert shown.keys() == set(subjects)
    assert {len(each) for each in shown.values()} == {told}
