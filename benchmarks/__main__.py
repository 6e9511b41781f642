"""One runner for every benchmark: figures side by side with the peers', as JSON, and the report made of them."""

import argparse
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine, results, tables, tools
from benchmarks.case import as_json
from benchmarks.known import CASES, LONG, STUDIES, case, study
from benchmarks.setting import setting

_ROOT = Path(__file__).parent.parent
_USAGE = """python -m benchmarks [--quick] [--peers NAME,…] [CASE…]   the cases, all of them without a name
       python -m benchmarks report                               docs/evidence/performance.md, of the last results
       python -m benchmarks STUDY [ITS OPTIONS]"""


def main(arguments: Sequence[str]) -> int:
    # What is installed has its bytecode; a checkout in such an environment would be compiled anew at every start.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if arguments and arguments[0] in STUDIES:
        return study(arguments[0])(arguments[1:])
    asked = _parser().parse_args(arguments)
    if asked.case == ["report"]:
        from benchmarks import plots, report

        print(report.write(asked.results, _ROOT / "docs" / "evidence", plots.draw))
        return 0
    unknown = [name for name in asked.case if name not in (*CASES, *LONG)]
    if unknown:
        print(
            f"no such benchmark: {', '.join(unknown)}; there are {', '.join((*CASES, *LONG, *STUDIES))}",
            file=sys.stderr,
        )
        return 2
    wanted = frozenset(filter(None, asked.peers.split(",")))
    # Every one of them, whatever another says.
    held = [_run(name, quick=asked.quick, wanted=wanted, place=asked.results) for name in asked.case or CASES]
    return 0 if all(held) else 1


def _parser() -> argparse.ArgumentParser:
    cases = f"{', '.join(CASES)}; and, for the patient, {', '.join(LONG)}"
    listed = "\n".join(f"  {name:16} {told}" for name, told in STUDIES.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        usage=_USAGE,
        description=f"{__doc__}\n\ncases: {cases}\nstudies:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("case", nargs="*", help="report, or the cases to run")
    parser.add_argument("--quick", action="store_true", help="less of everything, for trying: the figures mean little")
    parser.add_argument("--peers", default="", help="who takes part, by the names of the report; by default all")
    parser.add_argument("--results", type=Path, default=results.PLACE, help="where the figures are written")
    return parser


def _run(name: str, *, quick: bool, wanted: frozenset[str], place: Path) -> bool:
    """Run a case, write what it found and print it; False when it fails or a bound does not hold."""
    about = case(name)
    print(f"== {name}: {about.title}", flush=True)
    here = machine.facts()
    began = time.perf_counter()
    try:
        with setting(quick=quick, wanted=wanted) as where:
            figures = about.run(where)
    except Exception:  # noqa: BLE001  the other cases are measured all the same
        traceback.print_exc()
        return False
    took_s = round(time.perf_counter() - began, 1)
    found = as_json(about, figures)
    found |= {"quick": quick, "took_s": took_s, "machine": here, "peers": tools.found(), "ours": tools.ours()}
    file = results.write(name, found, place)
    print(tables.as_text(figures))
    verdicts = about.verdicts(figures)
    for verdict in verdicts:
        print(f"{tables.holds(verdict.holds):14} {verdict.says}: {verdict.measured}")
    print(f"{took_s:.0f} s; written to {file}\n", flush=True)
    return all(verdict.holds is not False for verdict in verdicts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
