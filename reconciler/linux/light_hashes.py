"""Hash by what the interpreter has of its own, and by OpenSSL only what is large.

To load OpenSSL takes 2 to 3 MB, its libraries and what they make at their start; it hashes five times as fast.
"""

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

# So much takes longer to hash without OpenSSL than that takes to load.
_LARGE = 4 << 20
_OPENSSL = "_hashlib"
# Of hashlib; an interpreter that is to hash by OpenSSL alone has none of them, and one before 3.12 has the first two.
_OWN = ("_md5", "_sha1", "_blake2", "_sha3")
_OWN_SHA2 = ("_sha256", "_sha512") if sys.version_info < (3, 12) else ("_sha2",)


def load_without_openssl() -> None:
    """Load hashlib and hmac for this process without OpenSSL, unless they are loaded or have nothing else."""
    if "hashlib" in sys.modules or _OPENSSL in sys.modules or not _has_its_own():
        return
    sys.modules[_OPENSSL] = None  # type: ignore[assignment]  # which the import system takes for absent
    try:
        importlib.import_module("hashlib")
        importlib.import_module("hmac")
    finally:
        del sys.modules[_OPENSSL]


def sha256_for(size: int) -> "_Hash":
    """Return a new SHA-256 for content of so many bytes: OpenSSL's if they are many, and it is there."""
    if size >= _LARGE:
        try:
            from _hashlib import openssl_sha256
        except ImportError:
            pass
        else:
            return openssl_sha256()
    from hashlib import sha256  # most commands hash nothing

    return sha256()


def _has_its_own() -> bool:
    try:
        for name in (*_OWN, *_OWN_SHA2):
            importlib.import_module(name)
    except ImportError:
        return False
    return True
