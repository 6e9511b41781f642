"""Name the fields of a manifest that only gunicorn heeds, for an app whose program is recognised by its files."""

from collections.abc import Mapping

from reconciler.planning.apps.revision import Server

_COUNT = "WEB_CONCURRENCY"  # many a program reads it, as gunicorn does


def fields_of_gunicorn(server: Server, env: Mapping[str, str]) -> tuple[str, ...]:
    """Return those fields that are set; a number of workers that comes from a variable is none of them."""
    default, count = Server(), env.get(_COUNT, "")
    is_counted = count.isdecimal() and int(count) == server.workers
    given = {
        "workers": server.workers != default.workers and not is_counted,
        "threads": server.threads != default.threads,
        "worker_class": server.worker_class is not None,
        "gunicorn": bool(server.settings),
    }
    return tuple(name for name, is_given in given.items() if is_given)


def why_unfit(program: str) -> str:
    """Return what is wrong with such a field where this program serves, as the end of a sentence."""
    return (
        f"is for gunicorn, and {program} serves this app by itself: remove it, and set what the program reads by `env`"
    )
