"""How a name stands: by the certificate that it is answered with, and how long that has left."""

import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from reconciler.routing.answers import _answer, _said_of, _standing
from reconciler.routing.handshake import Met, certificate_of
from tests.support.certificates import write_certificate


def met(directory: Path, name: str = "shop.example.com", **options: float) -> Met:
    chain, _ = write_certificate(directory, "shop.example.com", **options)
    encoded = x509.load_pem_x509_certificate(chain.read_bytes()).public_bytes(Encoding.DER)
    return certificate_of(encoded, name)


@pytest.mark.parametrize(
    ("days", "age_days", "state"),
    [
        (60.0, 30.0, "served"),
        (20.0, 70.0, "expiring"),
        (-0.1, 90.0, "expired"),
        (0.4, 0.1, "served"),
        (0.1, 0.9, "expiring"),
    ],
)
def test_a_certificate_that_was_not_renewed_in_time_is_told(
    tmp_path: Path, days: float, age_days: float, state: str
) -> None:
    found = _standing(met(tmp_path, days=days, age_days=age_days))
    assert found[0] == state
    assert (found[1] == "") == (state == "served")


@pytest.mark.parametrize(
    ("days", "age_days", "again_s"),
    [(60.0, 30.0, 3600.0), (20.0, 70.0, 300.0), (3 / 1440, 2 / 1440, 15.0), (0.0, 5 / 86400, 1.0)],
)
def test_a_name_is_tried_again_before_its_certificate_can_have_ended(
    tmp_path: Path, days: float, age_days: float, again_s: float
) -> None:
    answer = _answer(met(tmp_path, days=days, age_days=age_days), 0)
    assert answer.again_at - answer.at == pytest.approx(again_s, abs=0.1)


def test_a_certificate_of_another_name_is_no_answer(tmp_path: Path) -> None:
    assert met(tmp_path).trouble == ""
    assert met(tmp_path, "blog.example.com").trouble == "is answered with the certificate of another name"


def test_why_a_name_gets_no_certificate_is_what_the_proxy_has_written_last(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines: list[object] = [
        {"logger": "tls.obtain", "identifier": "a.example.com", "error": "old"},
        {"logger": "tls.obtain", "identifier": "a.example.com", "error": "rate\nlimited"},
        {"logger": "tls.obtain", "identifier": "b.example.com", "error": "other"},
        "a.example.com",
    ]
    log.write_text(
        "".join(json.dumps(line) + "\n" for line in lines) + '{"logger":"tls","identifier":"a.example.com","error"'
    )
    assert _said_of(log, "a.example.com", 0.0) == "rate limited"
    assert _said_of(log, "c.example.com", 0.0) == ""
    assert _said_of(tmp_path / "none", "a.example.com", 0.0) == ""


NAME = "shop.example.com"
NOW = 1_800_000_000.0


def line(said: str, **fields: object) -> str:
    return json.dumps({"ts": NOW, "logger": "http.acme_client", "error": said, **fields}) + "\n"


def of_name(said: str, name: str = NAME) -> str:
    return line(said, logger="tls.obtain", identifier=name)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", ""),
        (line("no such host"), "no such host"),
        (line("no such host", ts=NOW - 3600), ""),
        (line("no such host", ts="x"), ""),
        (line("other", logger="http.handlers.reverse_proxy", message="acme_client"), ""),
        (of_name("refused"), "refused"),
        (of_name("refused") + line("no such host"), "refused"),
        (of_name("refused", "other.example.com") + line("no such host"), "no such host"),
        (of_name("refused", "other.example.com"), ""),
        ('{"error": "acme_client tls shop.example.com', ""),
    ],
)
def test_an_authority_that_cannot_be_reached_is_told_before_it_has_failed_for_the_name(
    tmp_path: Path, written: str, said: str
) -> None:
    log = tmp_path / "proxy.log"
    log.write_text(written)
    assert _said_of(log, NAME, NOW) == said
