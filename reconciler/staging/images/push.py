"""Push the image of a layout to a registry: what it has is not sent again, and its tag comes last.

A push that ended at any moment is carried on by the next one: blobs that arrived are found by their digest, and a
large one goes on where the registry has it until.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import read_file, shown_size
from reconciler.staging.images.layout import blob_of, manifest_in
from reconciler.staging.images.reference import Reference, RegistryError
from reconciler.staging.images.registry import Registry
from reconciler.staging.images.registry_transport import Answer, NotNow, Part

_CHUNK = 32 << 20
_MOST_OF_A_NOTE = 1 << 16
_NOTE = ".upload.json"
_BYTES = "application/octet-stream"
_WORTH_TELLING = 1 << 20
_UNKNOWN_BLOB = frozenset(("MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """An image in a registry: its name by digest, and what of it was sent, mounted from another repository, or there.

    `sent` counts bytes, of tries that failed as well.
    """

    name: str
    sent: int
    uploaded: tuple[str, ...]
    mounted: tuple[str, ...]
    present: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRequest:
    """The image of a layout, and where it is to go. `base` is a repository there to mount blobs from, "" for none."""

    layout: Path
    digest: str
    to: Reference
    base: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Blob:
    digest: str
    size: int
    file: Path


class Push:
    """One push of one image, larger blobs in chunks of so many bytes."""

    def __init__(self, request: PushRequest, registry: Registry, *, chunk: int = _CHUNK) -> None:
        self._layout, self._digest, self._to, self._base = request.layout, request.digest, request.to, request.base
        self._registry, self._chunk = registry, chunk
        self._sessions = _Sessions(request.layout / _NOTE, request.to)
        self._how: dict[str, str] = {}

    def to_the_end(self) -> Pushed:
        """Push, and return what that took. Raises RegistryError, OSError; blocks."""
        manifest = manifest_in(self._layout, self._digest)
        blobs = self._blobs(manifest)
        for blob in blobs:
            self._registry.patiently(f"push {blob.digest}", lambda blob=blob: self._have(blob))  # type: ignore[misc]
        kind = str(manifest["mediaType"])
        self._registry.patiently(f"push the manifest to {self._to}", lambda: self._have_manifest(kind, blobs))
        self._sessions.forget()

        def those(how: str) -> tuple[str, ...]:
            return tuple(digest for digest, found in self._how.items() if found == how)

        return Pushed(
            name=f"{self._to}@{self._digest}",
            sent=self._registry.sent,
            uploaded=those("uploaded"),
            mounted=those("mounted"),
            present=those("present"),
        )

    def _blobs(self, manifest: Mapping[str, Any]) -> list[_Blob]:
        found = {}
        for each in (*manifest["layers"], manifest["config"]):
            digest, size = str(each["digest"]), int(each["size"])
            file = blob_of(self._layout, digest)
            if file.stat().st_size != size:
                raise RegistryError(f"blob {digest} in {self._layout} is damaged: write the image again")
            found[digest] = _Blob(digest=digest, size=size, file=file)
        return list(found.values())

    def _have(self, blob: _Blob, *, believed: bool = True) -> None:
        """Have a blob in the registry, unless it is there already and that is believed. Raises NotNow."""
        if believed and self._is_there(blob):
            self._how.setdefault(blob.digest, "present")
            return
        self._how[blob.digest] = "uploaded" if self._upload(blob, self._base if believed else "") else "mounted"

    def _is_there(self, blob: _Blob) -> bool:
        answer = self._registry.ask("HEAD", self._registry.url(f"{self._to.repository}/blobs/{blob.digest}"))
        if answer.status == 200:
            return answer.headers.get("content-length", str(blob.size)) == str(blob.size)
        if answer.status == 404:
            return False
        raise RegistryError(f"cannot look for {blob.digest}: {self._registry.refusal(answer)}")

    def _upload(self, blob: _Blob, base: str) -> bool:
        """Upload a blob, and return False for one that the base's repository had. Raises NotNow, RegistryError."""
        session, offset, is_resumed = self._resumed(blob)
        if not session:
            answer = self._begin(blob, base)
            if answer.status == 201:
                return False
            session = answer.location
        if blob.size > _WORTH_TELLING:
            self._registry.told(f"sends {shown_size(blob.size - offset)} of {blob.digest}")
        try:
            self._send(blob, session, offset)
        except _Refused as error:
            self._sessions.forget()
            if is_resumed:
                raise NotNow(f"the upload could not be carried on: {error}") from None
            raise RegistryError(f"cannot push {blob.digest}: {error}") from None
        self._sessions.forget()
        return True

    def _begin(self, blob: _Blob, base: str) -> Answer:
        query = f"?{urlencode({'mount': blob.digest, 'from': base})}" if base else ""
        answer = self._registry.ask("POST", self._registry.url(f"{self._to.repository}/blobs/uploads/{query}"))
        if answer.status not in (201, 202) or (answer.status == 202 and not answer.location):
            raise RegistryError(f"cannot push to {self._to}: {self._registry.refusal(answer)}")
        return answer

    def _resumed(self, blob: _Blob) -> tuple[str, int, bool]:
        """Return where an upload of a blob can be carried on, from which byte, and whether there is such a one."""
        noted = self._sessions.of(blob.digest)
        if not noted or not self._registry.is_own(noted):
            return "", 0, False
        answer = self._registry.ask("GET", noted)
        offset = _until(answer)
        if answer.status != 204 or offset is None or offset > blob.size:
            self._sessions.forget()
            return "", 0, False
        return answer.location or noted, offset, True

    def _send(self, blob: _Blob, session: str, offset: int) -> None:
        """Send a blob from a byte on: in one request, or in chunks if it is large. Raises NotNow, _Refused."""
        kind = {"Content-Type": _BYTES}
        while 0 < offset < blob.size or blob.size - offset > self._chunk:
            self._sessions.note(blob.digest, session)
            part = Part(file=blob.file, offset=offset, length=min(self._chunk, blob.size - offset))
            between = {**kind, "Content-Range": f"{offset}-{offset + part.length - 1}"}
            answer = self._registry.ask("PATCH", session, between, part)
            until = _until(answer)
            if answer.status != 202 or until is None or not offset < until <= blob.size:
                raise _Refused(self._registry.refusal(answer))
            session, offset = answer.location or session, until
        self._sessions.note(blob.digest, session)
        rest = Part(file=blob.file, offset=offset, length=blob.size - offset)
        url = f"{session}{'&' if urlsplit(session).query else '?'}{urlencode({'digest': blob.digest})}"
        answer = self._registry.ask("PUT", url, kind, rest)
        if answer.status not in (201, 204):
            raise _Refused(self._registry.refusal(answer))

    def _have_manifest(self, kind: str, blobs: list[_Blob]) -> None:
        url = self._registry.url(f"{self._to.repository}/manifests/{self._to.tag or self._digest}")
        found = self._registry.ask("HEAD", url)
        if found.status == 200 and found.headers.get("docker-content-digest") == self._digest:
            return
        content = read_file(blob_of(self._layout, self._digest), 8 << 20)
        answer = self._registry.ask("PUT", url, {"Content-Type": kind}, content)
        if answer.status in (400, 404) and _UNKNOWN_BLOB & set(answer.codes):
            self._registry.told(f"{self._to} has not all that it said it had: it is sent again")
            for blob in blobs:
                self._have(blob, believed=False)
            answer = self._registry.ask("PUT", url, {"Content-Type": kind}, content)
        if answer.status != 201:
            raise RegistryError(f"cannot push the manifest to {self._to}: {self._registry.refusal(answer)}")
        if (said := answer.headers.get("docker-content-digest", self._digest)) != self._digest:
            raise RegistryError(f"{self._to} took the image for {said}, and it is {self._digest}")


class _Refused(Exception):
    """An upload that the registry did not take; its text is the answer in words."""


class _Sessions:
    """A file beside the layout that says where the upload of one blob is to be carried on."""

    def __init__(self, file: Path, to: Reference) -> None:
        self._file, self._to = file, str(to)

    def of(self, digest: str) -> str:
        """Return the place of the upload of a blob, "" if there is none."""
        try:
            noted = json.loads(read_file(self._file, _MOST_OF_A_NOTE))
            return str(noted["at"]) if (noted["to"], noted["digest"]) == (self._to, digest) else ""
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return ""

    def note(self, digest: str, location: str) -> None:
        with suppress(OSError):  # without it, that blob is sent from its beginning
            replace_file(self._file, json.dumps({"to": self._to, "digest": digest, "at": location}), durable=False)

    def forget(self) -> None:
        with suppress(OSError):
            self._file.unlink(missing_ok=True)


def _until(answer: Answer) -> int | None:
    """Return how many bytes of an upload a registry has, None if it does not say that."""
    _, dash, last = answer.headers.get("range", "").rpartition("-")
    if not dash or not (last.isascii() and last.isdecimal()):
        return None
    return int(last) + 1 if int(last) else 0
