"""What `top` prints of the rates of apps."""

from reconciler.cli.top import _table
from reconciler.metrics.rates import Rate

WIDE = 200


def a_rate(
    *,
    requests: float = 4.0,
    errors: float = 0.0,
    client_errors: float = 0.0,
    workers: int = 2,
    queue: int | None = None,
    wait_s: float | None = None,
) -> Rate:
    return Rate(
        requests=requests, errors=errors, client_errors=client_errors, p50_s=0.002, p95_s=1.5, in_flight=1, busy=1,
        workers=workers, memory=2**20, cpu=0.5, queue=queue, wait_s=wait_s,
    )  # fmt: skip


def test_errors_of_clients_and_of_the_app_have_a_column_each() -> None:
    head, blog, shop = _table({"blog": a_rate(client_errors=4.0), "shop": a_rate(errors=0.5)}, WIDE)
    assert head.split()[:4] == ["APP", "REQ/S", "4XX/S", "5XX/S"]
    assert blog.split()[:4] == ["blog", "4.0", "4.0", "-"]
    assert shop.split()[:4] == ["shop", "4.0", "-", "0.5"]


def test_a_narrow_screen_keeps_the_errors_of_the_app_the_longest() -> None:
    shown = {width: _table({"blog": a_rate(errors=0.5)}, width)[0] for width in range(40, WIDE)}
    assert all("5XX/S" in head for head in shown.values() if "4XX/S" in head)
    assert any("4XX/S" not in head and "5XX/S" in head for head in shown.values())


def test_how_many_wait_for_a_worker_and_how_long_is_shown_where_it_is_known() -> None:
    head, blog, shop = _table({"blog": a_rate(queue=9, wait_s=0.12), "shop": a_rate()}, WIDE)
    at = head.split().index("QUEUE") - 1  # IN FLIGHT are two words
    assert head.split()[at + 1 : at + 3] == ["QUEUE", "WAIT"]
    assert blog.split()[at : at + 2] == ["9", "120.0ms"]
    assert shop.split()[at : at + 2] == ["-", "-"]


def test_requests_are_shown_only_where_a_worker_counts_them() -> None:
    rates = {
        "ended": a_rate(requests=4.0, workers=0),
        "blog": a_rate(requests=0.0),
        "jobs": a_rate(requests=0.0, workers=0),
    }
    _, ended, blog, jobs = _table(rates, WIDE)
    assert (ended.split()[1], blog.split()[1], jobs.split()[1]) == ("4.0", "0.0", "-")
