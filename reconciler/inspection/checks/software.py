"""Check the programs that staging needs: uv, and Python interpreters for apps."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

from reconciler.inspection.checks.check import Check


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
