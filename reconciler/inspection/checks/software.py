"""Check the programs that staging needs: uv, Python interpreters for apps, and what apps of other languages name."""

import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from reconciler.inspection.checks.check import Check
from reconciler.linux.listing import is_directory
from reconciler.planning.desired_state import DesiredState

_LOOK_S = 2.0


def uv() -> Iterator[Check]:
    """Check that the uv that was installed with reconciler runs."""
    import uv as package

    try:
        program = package.find_uv_bin()
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        advice = "uv is installed with reconciler: reinstall reconciler for this platform"
        yield Check(level="fail", subject="uv", found=f"does not run: {error}", advice=advice)
    else:
        yield Check(level="ok", subject="uv", found=f"{answer.stdout.strip()}, {program}")


def interpreters(extra: tuple[str, ...]) -> Iterator[Check]:
    """Check that there are Pythons for apps; `extra` are paths from the host's settings."""
    from reconciler.staging.detection.runtimes import discover, is_supported

    missing = [path for path in extra if not Path(path).exists()]
    if missing:
        advice = "correct 'interpreters' in the host's settings"
        yield Check(level="warn", subject="Pythons", found=f"missing: {', '.join(missing)}", advice=advice)
    found = [runtime for runtime in discover(extra) if is_supported(runtime)]
    if found:
        names = ", ".join(dict.fromkeys(runtime.name for runtime in found))
        yield Check(level="ok", subject="Pythons", found=names)
    else:
        advice = "install one, for example with 'uv python install', or list it under 'interpreters' in the settings"
        yield Check(level="fail", subject="Pythons", found="none that can run an app", advice=advice)


def programs(desired: DesiredState) -> Iterator[Check]:
    """Check that this host has the programs of the apps that are not Python's; without such an app, nothing."""
    from reconciler.staging.detection.programs.languages import how_to_install, missing_programs
    from reconciler.staging.detection.programs.recognition import serving_program
    from reconciler.staging.errors import StagingError
    from reconciler.staging.source.allowance import Allowance, allowing

    missing, there = defaultdict[str, list[str]](list), set[str]()
    for app in desired.apps.values():
        if not app.source.path or not is_directory(app.source.path):
            continue
        with suppress(StagingError, OSError, RecursionError), allowing(Allowance(within_s=_LOOK_S)):
            program = serving_program(Path(app.source.path), app.recipe)
            if program is not None and program.name:
                lacks = [name for _, name in missing_programs(build=program.build, command=program.command)]
                there |= {program.name} - {*lacks}
                for name in lacks:
                    missing[name].append(app.name)
    for name, apps in sorted(missing.items()):
        found = f"{name} is missing, which {', '.join(sorted(apps))} {'needs' if len(apps) == 1 else 'need'}"
        yield Check(level="warn", subject="programs", found=found, advice=how_to_install(name))
    if there:
        yield Check(level="ok", subject="programs", found=", ".join(sorted(there)))
