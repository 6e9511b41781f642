"""Put the status of a commit as each git server wants it: a POST of JSON, with the token in a header of its own."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import field
from urllib.parse import quote

from reconciler.inspection.printable import plain
from reconciler.linux.dataclass import dataclass
from reconciler.planning.origins.commit_status import CommitState, CommitStatus
from reconciler.settings.git import GitOrigin
from reconciler.settings.git_statuses import Statuses

_LONGEST_TEXT = 140  # which is GitHub's limit; the others allow more
_LONGEST_KEY = 40  # which is Bitbucket's

_GITLAB: Mapping[CommitState, str] = {
    "pending": "pending", "success": "success", "failure": "failed", "error": "failed",
}  # fmt: skip
_BITBUCKET: Mapping[CommitState, str] = {
    "pending": "INPROGRESS", "success": "SUCCESSFUL", "failure": "FAILED", "error": "FAILED",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A request to a git server; `headers` hold the token."""

    url: str
    content: bytes
    headers: Mapping[str, str] = field(repr=False)


def post_of(statuses: Statuses, status: CommitStatus, *, context: str, link: str, token: str) -> Post:
    """Return the request that tells a status; `context` names this host, and `link` is a page about it, or ""."""
    text = " ".join(plain(status.text).split())  # some servers never take a control character
    text = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
    project, commit = quote(statuses.project), quote(status.commit)
    body: dict[str, str]
    match statuses.forge:
        case "gitlab":
            path = f"/projects/{quote(statuses.project, safe='')}/statuses/{commit}"
            body = {"state": _GITLAB[status.state], "name": context, "description": text}
            headers = {"PRIVATE-TOKEN": token}
        case "bitbucket" | "bitbucket-data-center":
            in_cloud = statuses.forge == "bitbucket"
            path = f"/repositories/{project}/commit/{commit}/statuses/build" if in_cloud else f"/commits/{commit}"
            body = {"state": _BITBUCKET[status.state], "key": _key(context), "name": context}
            body |= {"description": text, "url": link or statuses.web}
            headers = {"Authorization": f"Bearer {token}"}
        case "github":
            path = f"/repos/{project}/statuses/{commit}"
            body = {"state": status.state, "context": context, "description": text}
            headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
        case _:  # Gitea, and Forgejo, which has its API
            path = f"/repos/{project}/statuses/{commit}"
            body = {"state": status.state, "context": context, "description": text}
            headers = {"Authorization": f"token {token}"}
    if link and "url" not in body:
        body["target_url"] = link
    headers |= {"Content-Type": "application/json", "User-Agent": "reconciler"}
    return Post(url=f"{statuses.api}{path}", content=json.dumps(body).encode(), headers=headers)


def context_of(origin: GitOrigin, origins: Iterable[GitOrigin]) -> str:
    """Return the name of an origin's status: that of this host, and its own beside others of the same project."""
    place = _place(origin)
    is_only = not any(each.name != origin.name and _place(each) == place for each in origins)
    return f"reconciler/{origin.host}" if is_only else f"reconciler/{origin.host}/{origin.name}"


def _place(origin: GitOrigin) -> tuple[str, str] | None:
    statuses = origin.repository.statuses
    return None if statuses is None else (statuses.api.lower(), statuses.project.lower())


def _key(context: str) -> str:
    """Return a key that no other name has, however long both are."""
    if len(context) <= _LONGEST_KEY:
        return context
    digest = hashlib.sha256(context.encode()).hexdigest()[:8]
    return f"{context[: _LONGEST_KEY - 1 - len(digest)]}-{digest}"
