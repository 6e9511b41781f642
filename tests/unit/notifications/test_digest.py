"""Who is told what, and how often: no flood, no repetition, nothing of an app acts as markup."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.convergence.world import Report
from reconciler.notifications import payloads
from reconciler.notifications.delivery import Delivery
from reconciler.notifications.digest import Digest, Entry
from reconciler.notifications.notifier import Notifier, Pace
from reconciler.notifications.target import NotSent, Target
from reconciler.notifications.targets.command import Command
from reconciler.notifications.targets.webhook import Webhook
from reconciler.planning.reason import Reason
from reconciler.planning.states import Severity
from reconciler.planning.subject import Subject, SubjectKind
from tests.fakes.post_office import Hook, webhook

ITEM = Entry(subject=Subject("app", "blog"), severity="failing", text="cannot start")


def news() -> Digest:
    return Digest(every_s=600, delay_s=5)


def test_fifty_apps_that_fail_at_once_are_one_message_and_only_once() -> None:
    known = news()
    for number in range(50):
        known.update(Subject("app", f"app-{number}"), "failing", "no disk", now=float(number) / 50)
    assert known.due(4) == ()
    items = known.due(6)
    assert len(items) == 50
    assert payloads.headline(items, "web1") == "web1: 50 apps are failing"
    assert payloads.text(items, "web1").endswith("and 30 more: see 'reconciler status'")
    known.complete(items, now=6)
    assert known.due(10_000) == ()
    assert known.next_at() is None


def test_what_recovers_before_it_was_told_is_no_news() -> None:
    known = news()
    known.update(Subject("app", "blog"), "failing", "x", now=0)
    known.update(Subject("app", "blog"), "healthy", "", now=3)
    assert known.due(10_000) == ()


def test_a_flapping_app_is_told_of_once_in_the_time_with_its_count() -> None:
    known, told = news(), []
    for now in range(1800):
        known.update(Subject("app", "blog"), "failing" if now % 20 < 10 else "healthy", "x", now=now)
        items = known.due(now)
        if items:
            told.append((now, items[0].changes))
            known.complete(items, now)
    assert [now for now, _ in told] == [5, 605, 1205]
    assert all(changes > 50 for _, changes in told[1:])


def test_a_later_daemon_repeats_nothing_and_tells_the_recovery() -> None:
    before, after = news(), news()
    before.update(Subject("app", "blog"), "failing", "x", now=0)
    before.complete(before.due(5), now=5)
    after.restore(json.loads(json.dumps(before.reported())))
    after.update(Subject("app", "blog"), "failing", "x", now=1)
    assert after.due(10_000) == ()
    after.update(Subject("app", "blog"), "healthy", "", now=2)
    assert [item.severity for item in after.due(7)] == ["healthy"]


@pytest.mark.parametrize("standing", ["failing", "healthy"])
def test_what_may_have_been_told_when_the_daemon_died_is_told_as_it_is_by_then(standing: Severity) -> None:
    before, after = news(), news()
    before.update(Subject("app", "blog"), "failing", "x", now=0)
    before.begin(before.due(5))
    after.restore(json.loads(json.dumps(before.reported())))
    assert after.due(10_000) == ()
    after.update(Subject("app", "blog"), standing, "", now=1)
    assert [item.severity for item in after.due(6)] == [standing]


def test_who_may_have_heard_of_trouble_hears_of_its_end() -> None:
    known = news()
    known.update(Subject("app", "blog"), "failing", "x", now=0)
    known.begin(known.due(5))
    known.update(Subject("app", "blog"), "healthy", "", now=6)
    assert [item.severity for item in known.due(11)] == ["healthy"]


def test_a_schedule_is_told_of_with_the_lines_that_its_task_printed() -> None:
    known = news()
    said = "\n".join(f"line   {number}" for number in range(20))
    known.update(Subject("schedule", "shop/cleanup"), "failing", f"task 8f3a21c0 failed: exit code 3\n{said}", now=0)
    due = known.due(5)
    (item,) = payloads.as_json(due, "web1", datetime(2026, 11, 27, tzinfo=UTC))["items"]
    assert (item["app"], item["schedule"], item["service"]) == ("shop", "cleanup", "")
    assert item["message"].splitlines() == [
        "task 8f3a21c0 failed: exit code 3", *(f"line {number}" for number in range(20)),
    ]  # fmt: skip
    told = payloads.text(due, "web1").splitlines()
    assert told[:3] == [
        "web1: schedule shop/cleanup is failing", "",
        "schedule shop/cleanup is failing: task 8f3a21c0 failed: exit code 3",
    ]  # fmt: skip
    assert told[-1] == "    line 19"


def test_what_an_app_wrote_is_neither_markup_nor_a_mention() -> None:
    payload = payloads.as_slack(
        [Entry(subject=Subject("app", "blog"), severity="failing", text="<!channel> *x* @here \x1b[31m\u202e &")], "h"
    )
    told = payload["text"]
    assert "<" not in told
    assert "&lt;!channel&gt;" in told
    assert not any(mark in told for mark in ("*x*", "@here", "\x1b", "\u202e"))


@pytest.fixture
def hook() -> Iterator[Hook]:
    with webhook() as taking:
        yield taking


def bring(target: Target, within_s: float = 30) -> None:
    """One message, one try."""
    asyncio.run(Delivery(target, "web1", within_s=within_s).send([ITEM]))


def test_a_webhook_gets_json_and_a_redirect_is_not_followed(hook: Hook) -> None:
    bring(Webhook(url=hook.url))
    names = {"kind": "app", "app": "blog", "service": "", "origin": "", "schedule": ""}
    assert hook.got[0]["items"] == [{**names, "state": "failing", "message": "cannot start", "changes": 1}]
    hook.answers.append(302)
    with pytest.raises(NotSent, match="it answered 302"):
        bring(Webhook(url=hook.url))
    assert len(hook.got) == 2


def test_a_url_in_a_file_stays_secret_when_nobody_answers(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("http://127.0.0.1:1/s3cret\n")
    target = Webhook(url=tmp_path / "url")
    with pytest.raises(NotSent) as refusal:
        bring(target)
    assert "s3cret" not in f"{refusal.value} {target!r} {Webhook(url='https://h/s3cret')!s}"
    assert refusal.value.__cause__ is None


def test_a_command_gets_json_and_its_failure_is_told(tmp_path: Path) -> None:
    bring(Command(argv=("/usr/bin/tee", str(tmp_path / "got"))))
    assert json.loads((tmp_path / "got").read_text())["text"] == "web1: blog is failing"
    with pytest.raises(NotSent, match="ended with 1"):
        bring(Command(argv=("/bin/false",)))
    with pytest.raises(NotSent, match="No such file"):
        bring(Command(argv=("/no/such/program",)))


class Facts(dict[str, str]):
    def fact(self, name: str) -> str | None:
        return self.get(name)

    def set_fact(self, name: str, value: str) -> None:
        self[name] = value


async def announced(
    hook: Hook, facts: Facts, report: Report, count: int, subject: Subject = Subject("app", "blog")
) -> None:
    notifier = Notifier(
        Webhook(url=hook.url),
        facts,
        host="web1",
        pace=Pace(every_s=0, delay_s=0, cap_s=0.01),
        redact=lambda subject, text: text.replace("hunter2", "***"),
        host_failure=lambda: "",
        failed=lambda what, then: None,
    )
    notifier.on_report(subject, report)
    async with asyncio.timeout(60):
        keeping = asyncio.create_task(notifier.run())
        while len(hook.got) < count or "unsure" in str(facts) or not facts:
            await asyncio.sleep(0.01)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (Reason.BACKUP_LATE, "its last good backup is more than 1d12h old; its manifest asks for one every 1d"),
        (Reason.BACKUP_FAILED, "its backup failed: cannot reach its server; the next try is 1m after the last"),
    ],
)
def test_backups_that_are_late_or_fail_are_told_and_so_is_their_end(hook: Hook, reason: Reason, text: str) -> None:
    facts, service = Facts(), Subject("service", "blog-db")
    report = Report(state="degraded", reason=reason, message=text, settled=True)
    asyncio.run(announced(hook, facts, report, 1, service))
    (item,) = hook.got[0]["items"]
    assert (item["service"], item["state"], item["message"]) == ("blog-db", "degraded", text)
    asyncio.run(announced(hook, facts, Report(state="ready", settled=True), 2, service))
    assert [item["state"] for item in hook.got[1]["items"]] == ["healthy"]


def test_a_commit_that_is_not_in_force_is_told_and_so_is_its_end(hook: Hook) -> None:
    facts, fleet, why = Facts(), Subject("origin", "fleet"), "it is not signed; commit 91c2d0a stays in force"
    asyncio.run(announced(hook, facts, Report(state="refused", message=why, settled=True), 1, fleet))
    assert hook.got[0]["text"] == "web1: origin fleet is degraded"
    (item,) = hook.got[0]["items"]
    assert (item["origin"], item["app"], item["state"], item["message"]) == ("fleet", "", "degraded", why)
    asyncio.run(announced(hook, facts, Report(state="current", settled=True), 2, fleet))
    assert hook.got[1]["text"] == "web1: origin fleet is healthy again"


def test_what_a_message_is_about_is_counted_by_its_kinds() -> None:
    def told(*kinds: SubjectKind) -> str:
        subjects = [Subject(kind, f"a{number}") for number, kind in enumerate(kinds)]
        return payloads.headline([Entry(subject=each, severity="degraded", text="") for each in subjects], "web1")

    assert told("origin", "origin") == "web1: 2 origins are degraded"
    assert told("app", "service") == "web1: 2 apps and services are degraded"
    assert told("app", "origin") == "web1: 2 apps, services and origins are degraded"


def test_a_message_is_tried_again_masked_and_remembered_once_taken(hook: Hook) -> None:
    facts = Facts()
    hook.answers += [500, 503]
    asyncio.run(announced(hook, facts, Report(state="failing", message="password hunter2 refused"), 3))
    assert hook.got[2]["items"][0]["message"] == "password *** refused"
    assert json.loads(next(iter(facts.values()))) == {"app/blog": "failing"}
    asyncio.run(announced(hook, facts, Report(state="running", settled=True), 4))
    assert hook.got[3]["text"] == "web1: blog is healthy again"
    assert len(hook.got) == 4


def test_a_service_that_fails_is_told_and_so_is_its_recovery(hook: Hook) -> None:
    facts, database = Facts(), Subject("service", "db")
    asyncio.run(announced(hook, facts, Report(state="failing", message="no server"), 1, database))
    asyncio.run(announced(hook, facts, Report(state="ready", settled=True), 2, database))
    assert [got["text"] for got in hook.got] == ["web1: service db is failing", "web1: service db is healthy again"]
    assert [(item["app"], item["service"]) for got in hook.got for item in got["items"]] == [("", "db")] * 2


def test_what_an_earlier_commit_told_is_not_told_again() -> None:
    known = news()
    known.restore({"blog": "failing", "service db": "failing", "": "well", "shop": "well"})
    for subject in (Subject("app", "blog"), Subject("service", "db")):
        known.update(subject, "failing", "still", now=1)
    known.update(Subject("host"), "healthy", "", now=1)
    assert known.due(1e6) == ()


def test_the_proxy_is_told_of_among_others_as_a_kind_of_its_own(hook: Hook) -> None:
    facts = Facts()
    report = Report(state="degraded", message="shop.example.com has a certificate that expires in 20d", settled=True)
    asyncio.run(announced(hook, facts, report, 1, Subject("proxy")))
    (item,) = hook.got[0]["items"]
    assert (item["kind"], item["state"], item["message"]) == ("proxy", "degraded", report.message)
    assert hook.got[0]["text"] == "web1: proxy is degraded"
    digest = Digest(every_s=0.0, delay_s=0.0)
    for subject in (Subject("app", "blog"), Subject("proxy"), Subject("host")):
        digest.update(subject, "failing", "down", 0.0)
    assert [str(entry.subject) for entry in digest.due(1.0)] == ["host", "proxy", "blog"]
