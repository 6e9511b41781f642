"""Encrypted storage of secrets: credentials of services, and the content of secret files, by id.

An id is a keyed digest: the same text has the same id, which reveals nothing. The key has its own file, apart from the
database; without it no secret can be read, and a lost key is never replaced silently.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.linux.error_words import in_words
from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import read_file
from reconciler.state.database import Database

if TYPE_CHECKING:  # imported only where secrets are used
    from cryptography.fernet import MultiFernet

_DIGESTS = "digests"
_MOST_OF_A_KEY_FILE = 64 * 1024


class VaultLocked(Exception):
    """Secrets cannot be read or stored; the message says why."""


class Vault:
    """The secrets of one state directory. `key` is the file of its key, created with the first secret."""

    def __init__(self, database: Database, key: Path) -> None:
        self._database = database
        self._key = key
        self._opened: MultiFernet | None = None
        self._digests: bytes | None = None

    def put(self, text: str) -> str:
        """Store a text; return its id, twenty-four hexadecimal digits. Raises VaultLocked or sqlite3.Error."""
        kept = self._id(text)
        known = self._database.execute("SELECT 1 FROM vault WHERE id = ?", (kept,)).fetchone()
        if known is None:
            self._database.execute("INSERT OR IGNORE INTO vault VALUES (?, ?)", (kept, self.sealed(text)))
        return kept

    def get(self, kept: str) -> str:
        """Return the text of an id. Raises VaultLocked if it is not stored or cannot be read."""
        row = self._database.execute("SELECT box FROM vault WHERE id = ?", (kept,)).fetchone()
        if row is None:
            raise VaultLocked(f"the secret {kept} is missing from the state database")
        return self.unsealed(row[0])

    def keep_only(self, needed: Collection[str]) -> None:
        """Delete every text whose id is not among these."""
        found = [row[0] for row in self._database.execute("SELECT id FROM vault WHERE id != ?", (_DIGESTS,))]
        gone = [(kept,) for kept in found if kept not in needed]  # the key of ids stays
        if gone:
            self._database.executemany("DELETE FROM vault WHERE id = ?", gone)

    def sealed(self, text: str) -> bytes:
        """Encrypt a text that is stored elsewhere in the database."""
        return self._cipher().encrypt(text.encode())

    def unsealed(self, box: bytes) -> str:
        """Decrypt what `sealed` returned. Raises VaultLocked."""
        from cryptography.fernet import InvalidToken

        try:
            return self._cipher().decrypt(box).decode()
        except InvalidToken:
            raise VaultLocked(f"the key in {self._key} cannot decrypt the stored credentials") from None

    def rekey(self, columns: Collection[tuple[str, str, str]]) -> int:
        """Generate a new key and encrypt everything with it; return how many secrets there are.

        `columns` are further encrypted columns: table, primary key, column. Killed anywhere, the key file holds every
        key that is needed.
        """
        from cryptography.fernet import Fernet

        self._cipher()
        old = _read(self._key)
        new = Fernet.generate_key().decode()
        _replace(self._key, [new, *old])
        self._opened = None
        cipher, count = self._cipher(), 0
        with self._database.together():
            for table, primary, column in (("vault", "id", "box"), *columns):
                rows = self._database.execute(f"SELECT {primary}, {column} FROM {table}").fetchall()  # noqa: S608  ours
                for name, box in rows:
                    if box is not None:
                        statement = f"UPDATE {table} SET {column} = ? WHERE {primary} = ?"  # noqa: S608  names of ours
                        self._database.execute(statement, (cipher.rotate(box), name))
                        count += 1
        # The log of the database must not outlive the key that opens what is in it.
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        _replace(self._key, [new])
        self._opened = None
        return count

    def _id(self, text: str) -> str:
        return hmac.new(self._digest_key(), text.encode(), hashlib.sha256).hexdigest()[:24]

    def _digest_key(self) -> bytes:
        """Return the key of ids, which is stored in the vault, so that a new encryption key changes no id."""
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

            keys = _read(self._key) or self._new_keys()
            try:
                self._opened = MultiFernet([Fernet(key) for key in keys])
            except ValueError:
                message = f"{self._key} holds no key; restore the one that this host's credentials were encrypted with"
                raise VaultLocked(message) from None
        return self._opened

    def _new_keys(self) -> list[str]:
        """Generate a key, unless secrets were stored with another."""
        from cryptography.fernet import Fernet

        if self._database.execute("SELECT 1 FROM vault LIMIT 1").fetchone() is not None:
            raise VaultLocked(
                f"the key {self._key} is missing, and the stored credentials cannot be decrypted without it;"
                " restore the file"
            )
        keys = [Fernet.generate_key().decode()]
        _replace(self._key, keys)
        return keys


def _read(file: Path) -> list[str]:
    """Return the keys, newest first; none if there is no file. Raises VaultLocked."""
    try:
        status = file.stat()
        keys = read_file(file, _MOST_OF_A_KEY_FILE).decode("ascii").split()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise VaultLocked(
            f"cannot read the key {file}: {getattr(error, 'strerror', None) or 'it is not a key'}"
        ) from None
    if status.st_mode & 0o077:
        raise VaultLocked(f"other users may read the key {file}; run chmod 600 on it")
    return keys or [""]


def _replace(file: Path, keys: list[str]) -> None:
    """Replace the key file; it is on the disk when this returns. Raises VaultLocked."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(file, "\n".join(keys) + "\n")
    except OSError as error:
        raise VaultLocked(f"cannot write the key {file}: {in_words(error)}") from error


def packed(value: Any) -> str:
    """Return the canonical JSON text of a value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
