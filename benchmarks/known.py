"""Every benchmark by its name: the cases, beside their peers, and studies of ours alone, each a module of its own."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.case import Case

# In the order of the report.
CASES: Sequence[str] = (
    "drop",
    "crash",
    "cold",
    "idle",
    "deploy",
    "workers",
    "staging",
    "manager",
    "pushes",
    "unchanged",
    "throughput",
    "proxies",
    "command_line",
)
# Cases that take too long to be among all.
LONG: Mapping[str, str] = {"staging_many": "staging"}
STUDIES: Mapping[str, str] = {
    "deploys": "a hundred deploys of ours under load, good and broken, with every worker class",
    "garbage": "how long collections of garbage hold up the daemon with thousands of apps, and what a look takes",
    "isolation_cost": "hundreds of isolated apps beside as many without: starts, memory, and what wakes them",
    "kill_everything": "workers, masters and the daemon killed at random under load",
    "many_sleeping": "ten thousand sleeping apps, and what a wake costs",
    "metrics_cost": "what counting requests costs",
    "one_of_many": "a commit that touches one of 500 apps in one git repository",
    "page": "the page with 500 apps",
    "page_log": "the page of a log of 1 GB: its time, and the memory of the process that answers",
    "page_paint": "the page with 500 apps in a headless Chromium: its first paint, and whether anything moves",
    "scaling": "the number of workers by load, beside uWSGI's cheaper and fixed numbers",
    "schedules_cost": "what schedules cost while none is due, with 500 apps and four each",
    "services": "a service on PostgreSQL, beside the bare SQL statements",
    "startup": "how soon the commands answer, beside Click alone",
    "templates": "waking a sleeping app, and ten thousand starts from one template",
    "worker_memory": "workers of celery started by exec, beside workers forked from one that has its libraries loaded",
}


def case(name: str) -> Case:
    """A case by its name; what it needs is imported only now."""
    module: Any = importlib.import_module(f"benchmarks.cases.{LONG.get(name, name)}")
    found = [each for each in vars(module).values() if isinstance(each, Case) and each.name == name]
    return found[0]


def study(name: str) -> Callable[[Sequence[str]], int]:
    """What runs a study with its own arguments; returns its exit status."""
    module: Any = importlib.import_module(f"benchmarks.studies.{name}")
    run: Callable[[Sequence[str]], int] = module.main
    return run
