"""List the lock file formats. A new format is one value here, a project in the tests, and a corpus for the fuzzer."""

from collections.abc import Mapping

from reconciler.staging.detection.lockfiles.format import LockFormat
from reconciler.staging.detection.lockfiles.pipenv import PIPENV
from reconciler.staging.detection.lockfiles.poetry import POETRY
from reconciler.staging.detection.lockfiles.pylock import PYLOCK
from reconciler.staging.detection.lockfiles.uv import UV

LOCK_FORMATS: Mapping[str, LockFormat] = {each.file: each for each in (UV, PYLOCK, POETRY, PIPENV)}
