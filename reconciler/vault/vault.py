"""What opens the services, and what secrets' files hold, kept encrypted: a text in, its id out, and back.

The id is a keyed digest, so that the same text has the same id and tells nobody anything. The key lies in a file of its
own, apart from the database; without it nothing here can be read, and a new one is never drawn in silence.
"""

import hashlib
import hmac
import json
import secrets
import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.linux.files import replace_file

if TYPE_CHECKING:  # whoever has no service never pays for it
    from cryptography.fernet import MultiFernet

_DIGESTS = "digests"


class VaultLocked(Exception):
    """What is kept cannot be read, or nothing can be kept, and why."""


class Vault:
    """The secrets of one state directory. `key` is the file of its key, made when the first secret is put away."""

    def __init__(self, database: sqlite3.Connection, key: Path) -> None:
        self._database = database
        self._key = key
        self._opened: MultiFernet | None = None
        self._digests: bytes | None = None

    def put(self, text: str) -> str:
        """Keep a text; returns its id, twenty-four hexadecimal digits. Raises Sealed, sqlite3.Error."""
        kept = self._id(text)
        known = self._database.execute("SELECT 1 FROM vault WHERE id = ?", (kept,)).fetchone()
        if known is None:
            self._database.execute("INSERT OR IGNORE INTO vault VALUES (?, ?)", (kept, self.sealed(text)))
        return kept

    def get(self, kept: str) -> str:
        """The text of an id. Raises Sealed when it is not there or cannot be read."""
        row = self._database.execute("SELECT box FROM vault WHERE id = ?", (kept,)).fetchone()
        if row is None:
            raise VaultLocked(f"the secret {kept} is not in the state database any more")
        return self.unsealed(row[0])

    def keep_only(self, needed: Collection[str]) -> None:
        """Forget every text whose id is not among these."""
        found = [row[0] for row in self._database.execute("SELECT id FROM vault WHERE id != ?", (_DIGESTS,))]
        gone = [(kept,) for kept in found if kept not in needed]  # what ids are made with stays
        if gone:
            self._database.executemany("DELETE FROM vault WHERE id = ?", gone)

    def sealed(self, text: str) -> bytes:
        """The text encrypted, to be kept elsewhere in the database."""
        return self._cipher().encrypt(text.encode())

    def unsealed(self, box: bytes) -> str:
        """What `sealed` made the box of. Raises Sealed."""
        from cryptography.fernet import InvalidToken

        try:
            return self._cipher().decrypt(box).decode()
        except InvalidToken:
            raise VaultLocked(f"the key in {self._key} does not open the credentials that are stored here") from None

    def rekey(self, columns: Collection[tuple[str, str, str]]) -> int:
        """Draw a new key and encrypt everything anew; returns how many secrets there are.

        `columns` are further places of boxes: table, primary key, column. Killed anywhere, the file holds every key
        that is needed.
        """
        from cryptography.fernet import Fernet

        self._cipher()
        old = _read(self._key)
        new = Fernet.generate_key().decode()
        _replace(self._key, [new, *old])
        self._opened = None
        cipher, count = self._cipher(), 0
        self._database.execute("BEGIN IMMEDIATE")
        try:
            for table, primary, column in (("vault", "id", "box"), *columns):
                rows = self._database.execute(f"SELECT {primary}, {column} FROM {table}").fetchall()  # noqa: S608  ours
                for name, box in rows:
                    if box is not None:
                        statement = f"UPDATE {table} SET {column} = ? WHERE {primary} = ?"  # noqa: S608  names of ours
                        self._database.execute(statement, (cipher.rotate(box), name))
                        count += 1
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")
        # The log of the database must not outlive the key that opens what is in it.
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        _replace(self._key, [new])
        self._opened = None
        return count

    def _id(self, text: str) -> str:
        return hmac.new(self._digest_key(), text.encode(), hashlib.sha256).hexdigest()[:24]

    def _digest_key(self) -> bytes:
        """What ids are made with: kept in the vault, so that a new key changes no id."""
        if self._digests is None:
            row = self._database.execute("SELECT box FROM vault WHERE id = ?", (_DIGESTS,)).fetchone()
            if row is None:
                drawn = secrets.token_hex(32)
                self._database.execute("INSERT INTO vault VALUES (?, ?)", (_DIGESTS, self.sealed(drawn)))
                self._digests = bytes.fromhex(drawn)
            else:
                self._digests = bytes.fromhex(self.unsealed(row[0]))
        return self._digests

    def _cipher(self) -> "MultiFernet":
        if self._opened is None:
            from cryptography.fernet import Fernet, MultiFernet

            keys = _read(self._key) or self._drawn()
            try:
                self._opened = MultiFernet([Fernet(key) for key in keys])
            except ValueError:
                message = f"{self._key} holds no key: put back the one that this host's credentials were stored with"
                raise VaultLocked(message) from None
        return self._opened

    def _drawn(self) -> list[str]:
        """A new key, when nothing was ever put away with another."""
        from cryptography.fernet import Fernet

        if self._database.execute("SELECT 1 FROM vault LIMIT 1").fetchone() is not None:
            raise VaultLocked(
                f"the key {self._key} is missing, and credentials are stored that only it opens: put it back"
            )
        drawn = [Fernet.generate_key().decode()]
        _replace(self._key, drawn)
        return drawn


def _read(file: Path) -> list[str]:
    """The keys, newest first; none when there is no file. Raises Sealed."""
    try:
        status = file.stat()
        keys = file.read_text(encoding="ascii").split()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise VaultLocked(
            f"cannot read the key {file}: {getattr(error, 'strerror', None) or 'it is not one'}"
        ) from None
    if status.st_mode & 0o077:
        raise VaultLocked(f"others than its owner may read the key {file}: chmod 600 it")
    return keys or [""]


def _replace(file: Path, keys: list[str]) -> None:
    """Put a file of keys in its place, on the disk before anything depends on it. Raises Sealed."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(file, "\n".join(keys) + "\n")
    except OSError as error:
        raise VaultLocked(f"cannot write the key {file}: {error.strerror}") from error


def packed(value: Any) -> str:
    """A JSON-like value as the one text that stands for it."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
