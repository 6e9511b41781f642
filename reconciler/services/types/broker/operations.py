"""Making and removing one thing at a broker, an instance or a binding, so that no try leaves an orphan behind.

Every request is one that may be sent again. What may have been made by a try that went wrong is noted as an orphan and
removed, by the same step or the next; but never what once was finished. When that is due is the table under
"Orphan Mitigation" in the Open Service Broker API.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.planning.fingerprint import Json
from reconciler.services.provisioner import Misconfigured, ServiceError
from reconciler.services.types.broker import notes
from reconciler.services.types.broker.client import Answer, BrokerSession, Unanswered
from reconciler.services.types.broker.notes import Note


class OperationFailed(ServiceError):
    """An operation failed at the broker, or took longer than its plan allows."""


class Conflict(ServiceError):
    """The broker has the resource with other fields than requested (409)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """An instance or a binding: its path at the broker, what to call it, and the file with its note.

    `polling_s` is how long making it may take, None when the broker does not say.
    """

    path: str
    title: str
    file: Path
    polling_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Progress:
    """What a broker reports of an operation in progress."""

    said: str
    answered: bool = True
    retry_after_s: float | None = None


async def make(talk: BrokerSession, thing: Resource, note: Note, body: Mapping[str, Json]) -> Answer:
    """Make sure that it is there, and return what the broker says of it: 200, 201, or 202 and finished since.

    Raises Differs; ServiceError, with what may be half made removed. The note says `begun` until the caller ends it.
    """
    known = notes.read(thing.file)
    if known is not None and known.state != "finished" and not (known.state == "begun" and known.asks_the_same(note)):
        await _delete_orphan(talk, thing, known)
        known = None
    if known is None:
        known = replace(note, state="begun", since_s=notes.uptime_s())
        notes.write(thing.file, known)
    try:
        answer = await talk.ask("PUT", thing.path, query={"accepts_incomplete": "true"}, body=body)
        if answer.status == 202:
            await follow(talk, thing, known, answer.text("operation"))
    except (Unanswered, OperationFailed) as error:
        raise await remove_orphan(talk, thing, error) from error
    if answer.status == 202 or (answer.status in {200, 201} and answer.body is not None):
        return answer
    if answer.status == 409:
        raise Conflict(f"{talk.broker} has the {thing.title} with other fields than requested")
    failure = refusal(talk, answer, f"make the {thing.title}")
    if answer.status >= 500 or 201 <= answer.status < 300:
        raise await remove_orphan(talk, thing, failure)
    raise failure


async def remove_orphan(talk: BrokerSession, thing: Resource, why: ServiceError) -> ServiceError:
    """Remove what a failed try may have left, unless it once was finished; returns what to raise.

    What cannot be removed now is removed by the next try, before anything else.
    """
    known = notes.read(thing.file)
    if known is None or known.state == "finished":
        return why
    talk.extend_for_cleanup()
    try:
        await _delete_orphan(talk, thing, known)
    except ServiceError as error:
        return type(why)(f"{why}; leftovers are removed before the next attempt ({error})")
    return why


async def _delete_orphan(talk: BrokerSession, thing: Resource, known: Note) -> None:
    notes.write(thing.file, replace(known, state="orphan"))
    await remove(talk, thing, known)
    notes.forget(thing.file)


async def remove(talk: BrokerSession, thing: Resource, known: Note) -> None:
    """Remove the resource from the broker. Raises ServiceError as long as it may exist."""
    query = {"service_id": known.service_id, "plan_id": known.plan_id, "accepts_incomplete": "true"}
    answer = await talk.ask("DELETE", thing.path, query=query)
    if answer.status == 202:
        await follow(talk, thing, known, answer.text("operation"), deleting=True)
    elif answer.status not in {200, 410}:
        raise refusal(talk, answer, f"remove the {thing.title}")


async def follow(talk: BrokerSession, thing: Resource, known: Note, operation: str, *, deleting: bool = False) -> None:
    """Ask again and again what became of an operation, until it succeeded or the step has to end.

    Raises OperationFailed; ServiceError when it is in progress still: to send the same request again is to go on.
    """
    query = {"service_id": known.service_id, "plan_id": known.plan_id} | ({"operation": operation} if operation else {})
    bounded = thing.polling_s is not None and known.state == "begun" and not deleting
    pause_s = talk.patience.first_poll_s
    heard = ""
    while (progress := await _progress(talk, thing, query, deleting=deleting)) is not None:
        wait_s = pause_s if progress.retry_after_s is None else progress.retry_after_s
        if bounded and thing.polling_s is not None and known.age_s() > thing.polling_s:
            raise OperationFailed(f"{talk.broker} took longer with the {thing.title} than its plan allows")
        heard = progress.said if progress.answered or not heard else heard
        if wait_s >= talk.left_s():
            raise ServiceError(f"{talk.broker}: {thing.title} still in progress: {heard or 'no details'}")
        await asyncio.sleep(wait_s)
        pause_s = min(pause_s * 1.5, talk.patience.longest_poll_s)


async def _progress(
    talk: BrokerSession, thing: Resource, query: Mapping[str, str], *, deleting: bool
) -> _Progress | None:
    """How far an operation is, None when it is done. What is no answer is asked again, as the API wants it."""
    try:
        answer = await talk.ask("GET", f"{thing.path}/last_operation", query=query)
    except Misconfigured:
        raise
    except ServiceError as error:
        return _Progress(said=str(error), answered=False)
    state = answer.text("state") if answer.status == 200 else ""
    if state == "succeeded" or (deleting and answer.status == 410):
        return None
    said = talk.said(answer.text("description"))
    if state == "failed":
        raise OperationFailed(f"{talk.broker} failed with the {thing.title}: {said or 'no reason given'}")
    if state != "in progress":
        said = f"its progress request answers {answer.status}" + (f": {said}" if said else "")
    return _Progress(said=said, retry_after_s=answer.retry_after_s)


def refusal(talk: BrokerSession, answer: Answer, task: str) -> ServiceError:
    """Return the error for a failed answer: Misconfigured if retrying cannot help."""
    said = talk.said(answer.text("description"))
    because = f": {said}" if said else ""
    code = answer.text("error")
    if answer.status == 422 and code == "ConcurrencyError":
        return ServiceError(f"{talk.broker} is busy with another operation{because}")
    if answer.status == 422 and code == "AsyncRequired":
        return Misconfigured(f"{talk.broker} cannot {task}: it does not support asynchronous operations{because}")
    if answer.status in {400, 404, 412, 422}:
        return Misconfigured(f"{talk.broker} refuses to {task} ({answer.status}){because}")
    if answer.status < 300:
        return ServiceError(f"{talk.broker} gave an unusable answer to the request to {task} ({answer.status})")
    return ServiceError(f"{talk.broker} cannot {task}: it answers {answer.status}{because}")
