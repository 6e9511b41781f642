"""The answers on a forwarded connection: what is passed on, and where each of them ends, however it arrives."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.serving.forwarder.answers import Answers
from reconciler.serving.forwarder.bodies import Chunked

GET, HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass(frozen=True, kw_only=True)
class Exchange:
    question: bytes
    answer: bytes
    status: int


def sized(code: int, body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 %d Whatever" % code, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(code: int, parts: Sequence[bytes]) -> bytes:
    body = b"".join(b"%x;x=y\r\n%s\r\n" % (len(part), part) for part in parts if part)
    return b"HTTP/1.1 %d OK\r\nTransfer-Encoding: chunked\r\n\r\n%s0\r\nTrailer: x\r\n\r\n" % (code, body)


bodies = st.binary(max_size=200) | st.just(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
codes = st.sampled_from((200, 201, 302, 404, 500))
exchanges = st.one_of(
    st.builds(lambda c, b: Exchange(question=GET, answer=sized(c, b), status=c // 100), codes, bodies),
    st.builds(
        lambda c, p: Exchange(question=GET, answer=chunked(c, p), status=c // 100), codes, st.lists(bodies, max_size=4)
    ),
    st.builds(
        lambda n: Exchange(question=HEAD, answer=b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % n, status=2),
        st.integers(0, 9999),
    ),
    st.just(Exchange(question=GET, answer=b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", status=3)),
    st.just(Exchange(question=GET, answer=b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + sized(200, b"x"), status=2)),
)


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(bounds) if end > begin]


@given(st.lists(exchanges, min_size=1, max_size=4), st.lists(st.integers(0, 10_000), max_size=12))
def test_every_byte_is_passed_on_and_every_answer_ends_where_it_does(known: list[Exchange], cuts: list[int]) -> None:
    answers = Answers()
    for exchange in known:
        assert answers.asked(exchange.question)
        assert answers.waits
        passed, completed = b"", 0
        parts = pieces(exchange.answer, cuts)
        for number, part in enumerate(parts):
            some, ended = answers.answered(part, closing=False)
            passed, completed = passed + some, completed + ended
            assert answers.waits == (number < len(parts) - 1)
        assert (passed, completed, answers.status) == (exchange.answer, 1, exchange.status)
        assert not answers.opaque


@given(exchanges, st.lists(st.integers(0, 10_000), max_size=12))
def test_a_last_answer_says_so_in_place_of_what_it_said(exchange: Exchange, cuts: list[int]) -> None:
    answers = Answers()
    answers.asked(exchange.question)
    promising = exchange.answer.replace(b"\r\n", b"\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n", 1)
    passed = b"".join(answers.answered(part, closing=True)[0] for part in pieces(promising, cuts))
    if not exchange.answer.startswith(b"HTTP/1.1 103"):
        head, _, body = exchange.answer.partition(b"\r\n\r\n")
        assert passed == head + b"\r\nConnection: close\r\n\r\n" + body
    assert passed.count(b"Connection: close\r\n") == 1
    assert answers.last


@pytest.mark.parametrize(
    ("said", "upgraded"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x05hello", True),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\nrest", False),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, False),
    ],
)
def test_what_is_no_longer_http_is_passed_on_without_a_look(said: bytes, upgraded: bool) -> None:
    answers = Answers()
    answers.asked(GET)
    passed = b"".join(answers.answered(part, closing=True)[0] for part in (said[:50], said[50:], GET))
    assert answers.opaque
    assert answers.upgraded == upgraded
    assert passed.endswith(said[-20:] + GET)
    assert not answers.asked(GET)


def test_an_answer_whose_lines_end_otherwise_is_passed_on_at_once() -> None:
    answers = Answers()
    answers.asked(GET)
    assert answers.answered(b"HTTP/1.1 200 OK\n", closing=False) == (b"", 0)
    said = b"Content-Length: 2\n\nok"
    assert answers.answered(said, closing=True) == (b"HTTP/1.1 200 OK\n" + said, 0)
    assert answers.opaque


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    answers = Answers()
    answers.asked(GET)
    assert answers.answered(b"HTTP/1.0 200 OK\r\n\r\nsome", closing=False) == (b"HTTP/1.0 200 OK\r\n\r\nsome", 0)
    assert answers.waits
    answers = Answers()
    answers.asked(GET)
    assert answers.answered(b"HTTP/1.1 200 O", closing=False) == (b"", 0)
    assert answers.rest() == b"HTTP/1.1 200 O"


def test_requests_that_come_together_are_answered_one_after_the_other() -> None:
    answers = Answers()
    answers.asked(GET + GET)
    both = sized(200, b"one") + sized(404, b"two")
    assert answers.answered(both, closing=False) == (both, 2)
    assert (answers.status, answers.waits) == (4, False)


@pytest.mark.parametrize("with_head", [0, 1000, 5000])
def test_a_body_that_comes_after_its_answer_is_no_question(with_head: int) -> None:
    answers, body = Answers(), b"x" * 5000
    assert answers.asked(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + body[:with_head])
    answers.answered(sized(404, b"none"), closing=False)
    for at in range(with_head, 5000, 1000):
        assert not answers.asked(body[at : at + 1000])
    assert not answers.waits
    assert answers.asked(GET)
    assert not answers.opaque


def test_the_first_bytes_tell_what_a_client_speaks() -> None:
    for data, opaque in (
        (b"GET /x HTTP/1.1\r\n", False),
        (b"PO", False),
        (b"\x16\x03\x01", True),
        (b"PRI * HTTP/2", True),
    ):
        answers = Answers()
        assert answers.asked(data)
        assert answers.opaque == opaque
    answers = Answers()
    answers.asked(GET.replace(b"\r\n\r\n", b"\r\nUser-Agent: reconciler-health\r\n\r\n"))
    assert answers.is_probe


def posted(body: bytes, parts: int) -> bytes:
    """A question with a body: of a length for no parts, otherwise in chunks, with a trailer."""
    if not parts:
        return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    step = max(1, len(body) // parts)
    chunks = [body[at : at + step] for at in range(0, len(body), step)]
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\nHost: x\r\n\r\n"
    return head + b"".join(b"%X\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nX-Sum: 1\r\n\r\n"


@given(
    st.lists(st.builds(posted, bodies, st.integers(0, 4)) | st.just(GET), min_size=1, max_size=4),
    st.lists(st.integers(0, 10_000), max_size=12),
    st.booleans(),
)
def test_each_question_begins_once_whatever_its_body_looks_like(
    questions: list[bytes], cuts: list[int], answered_early: bool
) -> None:
    answers = Answers()
    for question in questions:
        begun, parts = 0, pieces(question, cuts)
        for number, part in enumerate(parts):
            begun += answers.asked(part)
            if answered_early and number == 0:
                answers.answered(sized(404, b"none"), closing=False)
                assert not answers.waits
        if not answered_early:
            assert answers.waits
            answers.answered(sized(200, b"done"), closing=False)
        assert (begun, answers.waits, answers.opaque) == (1, False, False)


def test_questions_that_come_together_with_their_bodies_wait_until_each_is_answered() -> None:
    answers = Answers()
    assert answers.asked(posted(b"GET / HTTP/1.1\r\n\r\n" * 9, 3) + b"\r\n" + HEAD + GET[:9])
    assert not answers.asked(GET[9:])
    answers.answered(sized(200, b"one"), closing=False)
    answers.answered(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", closing=False)
    assert answers.waits
    answers.answered(sized(404, b"two"), closing=False)
    assert (answers.waits, answers.status, answers.opaque) == (False, 4, False)


@pytest.mark.parametrize("size", [b"not a size", b"-4", b"+5", b"0x5", b"1_0", b"", b"5 5", b"f" * 16])
def test_a_body_whose_chunks_are_none_is_passed_on_without_a_look(size: bytes) -> None:
    answers = Answers()
    assert answers.asked(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%s;x=y\r\nAAAA" % size)
    assert answers.opaque
    assert not answers.asked(GET)


def test_the_size_of_a_chunk_may_begin_with_many_zeros() -> None:
    body = Chunked()
    said = b"0" * 40 + b"5\r\nhello\r\n00\r\n\r\n"
    assert body.take(said + GET) == len(said)
    assert (body.over, body.broken) == (True, False)


@given(st.lists(st.binary() | st.sampled_from([b"-1\r\n", b"\r\n", b"2;\r\nab", b"0\r\n\r\n"]), max_size=9))
def test_whatever_comes_as_a_body_in_chunks_is_taken_piece_by_piece(pieces: list[bytes]) -> None:
    body = Chunked()
    for piece in filter(None, pieces):
        if body.over:
            break
        assert 0 < body.take(piece) <= len(piece)
