"""What comes of a message at real servers: secret where it should be, bounded where they hang, told once."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from reconciler.cli.main import group
from reconciler.documents.schemas import schema
from reconciler.notifications.delivery import Delivery
from reconciler.notifications.digest import Entry
from reconciler.notifications.target import NotSent, Target
from reconciler.notifications.targets.command import Command
from reconciler.notifications.targets.registry import TYPES, target_type
from reconciler.notifications.targets.smtp import Smtp
from reconciler.notifications.targets.webhook import Webhook
from reconciler.planning.subject import Subject
from tests.fakes.authority import Authority, made_in
from tests.fakes.post_office import PostOffice, mail_server, plain_login, webhook
from tests.support.documents import DOCS
from tests.support.eventually import eventually
from tests.support.site import is_gone

ITEM = Entry(subject=Subject("app", "blog"), severity="failing", text="cannot start\u202e")
ENOUGH_S = 60.0
SOON_S = 0.3


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return made_in(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def bring(target: Target, within_s: float = ENOUGH_S) -> None:
    """One message, one try."""
    asyncio.run(Delivery(target, "web1", within_s=within_s).send([ITEM]))


def why_not(target: Target, within_s: float = ENOUGH_S) -> str:
    """Why a target did not take it."""
    with pytest.raises(NotSent) as refusal:
        bring(target, within_s)
    return str(refusal.value)


def mail_to(office: PostOffice, **different: Any) -> Smtp:
    given = {"tls": "none", **different}
    return Smtp(
        server="localhost", port=office.port, sender="apps@example.com", recipients=("ops@example.com",), **given
    )


def test_mail_says_who_is_unwell_to_whom_and_that_a_machine_wrote_it() -> None:
    with mail_server() as office:
        bring(mail_to(office))
    (mail,) = office.mail
    assert {name: mail[name] for name in ("From", "To", "Subject", "Auto-Submitted")} == {
        "From": "apps@example.com",
        "To": "ops@example.com",
        "Subject": "web1: blog is failing",
        "Auto-Submitted": "auto-generated",
    }
    assert "blog is failing: cannot start" in mail.get_payload()
    assert "\u202e" not in mail.get_payload()


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_who_logs_in_and_what_is_said_is_said_in_secret(authority: Authority, tmp_path: Path, tls: str) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    with mail_server(authority.serving, at_once=tls == "tls") as office:
        login = {"user": "apps", "password": tmp_path / "password"}
        bring(mail_to(office, tls=tls, ca=authority.certificate, **login))
    assert office.said("AUTH") == [(plain_login("apps", "hunter2"), True)]
    assert [secret for _, secret in office.said("MAIL")] == [True]
    assert len(office.mail) == 1


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_a_mail_server_nobody_vouches_for_gets_neither_password_nor_mail(
    authority: Authority, tmp_path: Path, tls: str
) -> None:
    (tmp_path / "password").write_text("hunter2")
    with mail_server(authority.serving, at_once=tls == "tls") as office:
        target = mail_to(office, tls=tls, user="apps", password=tmp_path / "password")
        assert "its certificate is not trusted" in why_not(target)
    assert not office.said("AUTH")
    assert not office.mail


def test_a_mail_server_that_offers_no_tls_gets_nothing(authority: Authority) -> None:
    with mail_server() as office:
        assert "STARTTLS" in why_not(mail_to(office, tls="starttls"))
    assert not office.said("MAIL")


@pytest.mark.parametrize(
    ("verb", "answer", "why"),
    [
        ("", "554 go away", "the mail server answered 554"),
        ("MAIL", "550 not you", "the mail server answered 550"),
        ("RCPT", "450 not now", "the mail server refused every recipient: 450"),
        ("DATA", "552 full", "the mail server answered 552"),
        ("", "", "no answer within 0.3 s"),
        ("EHLO", "", "no answer within 0.3 s"),
        ("DATA", "", "no answer within 0.3 s"),
    ],
)
def test_a_mail_server_that_refuses_or_hangs_is_told_as_such(verb: str, answer: str, why: str) -> None:
    with mail_server() as office:
        office.answers[verb] = answer
        assert why_not(mail_to(office), ENOUGH_S if answer else SOON_S) == why


def test_a_refused_password_is_not_in_the_reason(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2")
    with mail_server(authority.serving) as office:
        office.answers["AUTH"] = "535 wrong: hunter2"
        login = {"user": "apps", "password": tmp_path / "password"}
        why = why_not(mail_to(office, tls="starttls", ca=authority.certificate, **login))
    assert why == "the mail server answered 535"


def test_a_mail_server_that_took_the_mail_and_then_hangs_has_it_once() -> None:
    with mail_server() as office:
        office.answers["QUIT"] = ""
        bring(mail_to(office))
    assert len(office.mail) == 1


def test_a_webhook_is_trusted_by_the_authority_it_was_given_and_no_other(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with webhook(authority.serving) as hook:
        assert "its certificate is not trusted" in why_not(Webhook(url=hook.url))
        for ca in (tmp_path / "missing", tmp_path / "empty"):
            assert why_not(Webhook(url=hook.url, ca=ca)) == f"cannot read the certificates in {ca}"
        assert not hook.got
        bring(Webhook(url=hook.url, ca=authority.certificate))
        assert len(hook.got) == 1


@pytest.mark.parametrize("manner", ["silent", "dripping"])
def test_a_webhook_that_hangs_is_given_up_in_time_and_keeps_one_thread_at_most(manner: str) -> None:
    async def story(url: str) -> None:
        delivery = Delivery(Webhook(url=url), "web1", within_s=SOON_S)
        before = set(threading.enumerate())
        for _ in range(3):
            with pytest.raises(NotSent, match=r"no answer within 0\.3 s"):
                await delivery.send([ITEM])
            more = set(threading.enumerate()) - before
            assert len([thread for thread in more if thread.name.startswith("notify ")]) <= 1

    with webhook() as hook:
        hook.manner = manner
        asyncio.run(story(hook.url))


def test_one_that_hung_is_told_as_soon_as_it_answers_again() -> None:
    async def story(url: str, answer_again: Callable[[], None]) -> None:
        delivery = Delivery(Webhook(url=url), "web1", within_s=SOON_S)
        with pytest.raises(NotSent):
            await delivery.send([ITEM])
        answer_again()
        patient = Delivery(Webhook(url=url), "web1", within_s=ENOUGH_S)
        patient._thread = delivery._thread
        await patient.send([ITEM])

    with webhook() as hook:
        hook.manner = "silent"

        def answer_again() -> None:
            hook.manner = ""
            hook.closing.set()

        asyncio.run(story(hook.url, answer_again))
        assert len(hook.got) == 2


def test_however_many_hang_the_rest_of_the_daemon_has_its_threads() -> None:
    async def story(url: str) -> None:
        couriers = [Delivery(Webhook(url=url), "web1", within_s=ENOUGH_S) for _ in range(40)]
        async with asyncio.TaskGroup() as tasks:
            hanging = [tasks.create_task(delivery.send([ITEM])) for delivery in couriers]
            await asyncio.to_thread(lambda: None)
            assert not any(one.done() for one in hanging)
            for one in hanging:
                one.cancel()

    with webhook() as hook:
        hook.manner = "silent"
        asyncio.run(story(hook.url))


def test_nothing_waits_for_a_thread_that_hangs_when_the_daemon_ends() -> None:
    with webhook() as hook:
        hook.manner = "silent"
        code = (
            "import asyncio\n"
            "from reconciler.notifications.delivery import Delivery\n"
            "from reconciler.notifications.targets.webhook import Webhook\n"
            "async def main():\n"
            "    bringing = asyncio.create_task(Delivery(Webhook(url=URL), 'h', within_s=3600).send([]))\n"
            "    await asyncio.wait((bringing,), timeout=0.2)\n"
            "    bringing.cancel()\n"
            "asyncio.run(main())\n"
        )
        subprocess.run([sys.executable, "-c", f"URL = {hook.url!r}\n{code}"], check=True, timeout=60)


@pytest.fixture
def lingering(tmp_path: Path) -> Iterator[tuple[Command, Callable[[], list[int]]]]:
    """A command that hangs beside a child of its own, and their pids once both run."""
    place = tmp_path / "pids"
    code = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); child = os.fork();"
        "child and open(sys.argv[1], 'w').write(f'{os.getpid()} {child} '); time.sleep(3600)"
    )

    def pids() -> list[int]:
        words = place.read_text().split(" ") if place.exists() else []
        return [int(word) for word in words[:-1]]

    yield Command(argv=(sys.executable, "-c", code, str(place))), pids
    for pid in pids():
        if not is_gone(pid):
            os.kill(pid, signal.SIGKILL)


def test_a_command_that_hangs_is_killed_with_whatever_it_started(
    lingering: tuple[Command, Callable[[], list[int]]],
) -> None:
    command, pids = lingering

    async def story() -> None:
        bringing = asyncio.create_task(Delivery(command, "web1", within_s=ENOUGH_S).send([ITEM]))
        while len(pids()) < 2:
            await asyncio.sleep(0.02)
        bringing.cancel()  # as the daemon's end does it
        await asyncio.wait((bringing,))

    asyncio.run(story())
    eventually(lambda: all(is_gone(pid) for pid in pids()))


def test_a_command_that_hangs_is_told_as_such() -> None:
    why = why_not(Command(argv=(sys.executable, "-c", "import time; time.sleep(3600)")), SOON_S)
    assert why == "it did not end within 0.3 s and was killed"


def test_the_settings_name_targets_and_the_command_tries_each(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.certificate.read_bytes())
    (tmp_path / "password").write_text("hunter2\n")
    with mail_server(authority.serving) as office, webhook(authority.serving) as hook:
        (tmp_path / "url").write_text(f"{hook.url}\n")
        mail = {
            "server": "localhost",
            "port": office.port,
            "from": "apps@example.com",
            "recipients": ["ops@example.com"],
        }
        targets = [
            {"to": "webhook", "url": {"file": "url"}, "template": "slack", "ca": "ca.pem"},
            {"to": "smtp", **mail, "user": "apps", "password": {"file": "password"}, "ca": "ca.pem"},
            {"to": "command", "argv": ["/bin/false"]},
        ]
        (tmp_path / "host.yaml").write_text(json.dumps({"notifications": targets}))
        done = CliRunner().invoke(group, ["notify", "--test", "--settings", str(tmp_path / "host.yaml")])
    assert done.exit_code == 1
    assert done.output.splitlines() == [
        f"the webhook in {tmp_path}/url: sent",
        "mail by localhost: sent",
        "the command /bin/false: failed: it ended with 1",
    ]
    assert "a test message" in hook.taken[0]["text"]
    assert office.said("AUTH") == [(plain_login("apps", "hunter2"), True)]


def test_the_registry_the_schema_and_the_reference_know_the_same_types_and_fields() -> None:
    item = schema("host")["properties"]["notifications"]["items"]
    assert item["properties"]["to"]["enum"] == list(TYPES)
    types = {name: target_type(name) for name in TYPES}
    fields = {
        field: {n for n, of in types.items() if field in of.REQUIRED + of.OPTIONAL} for field in item["properties"]
    }
    assert {field for field, of in fields.items() if not of} == {"to"}
    assert {field for of in types.values() for field in of.REQUIRED + of.OPTIONAL} < fields.keys()
    page = (DOCS / "reference" / "notifications.md").read_text(encoding="utf-8")
    listed = {
        field: set(re.findall("`([a-z]+)`", row[1])) or set(TYPES)
        for row in re.findall(r"^\| (`.+?`) \| (.+?) \|", page, re.MULTILINE)
        for field in re.findall("`([a-z]+)`", row[0])
    }
    assert listed == {**fields, "to": set(TYPES)}


def test_settings_with_targets_load_nothing_that_sends() -> None:
    code = (
        "import json, sys\n"
        "from reconciler.notifications.targets.registry import TYPES, target_type\n"
        "target_type('webhook').parse({'to': 'webhook', 'url': 'https://h/x'}, '/')\n"
        "target_type('smtp').parse({'to': 'smtp', 'server': 'h', 'from': 'a@b', 'recipients': ['a@b']}, '/')\n"
        "slow = {'asyncio', 'smtplib', 'ssl', 'urllib.request', 'email', 'http.client'}\n"
        "print(json.dumps(sorted(slow & sys.modules.keys())))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
    assert json.loads(done.stdout) == []


def test_what_a_target_was_sent_is_stored_under_what_an_earlier_commit_called_it() -> None:
    assert repr(Webhook(url="https://h/s3cret", ca=Path("/c"))) == "Webhook(format='json', ca=PosixPath('/c'))"
    assert repr(Command(argv=("/bin/true",))) == "Command(argv=('/bin/true',))"
    assert repr(Smtp(server="h", port=25, sender="a@b", recipients=("c@d",))) == (
        "Smtp(server='h', port=25, sender='a@b', recipients=('c@d',),"
        " tls='starttls', user=None, password=None, ca=None)"
    )
