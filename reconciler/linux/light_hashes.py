"""Hash by what the interpreter has of its own, and by OpenSSL once there is much.

To load OpenSSL takes 2 to 3 MB, its libraries and what they make at their start; it hashes five times as fast, and lets
other threads run meanwhile, which Python's own does not before 3.12.
"""

import contextlib
import importlib
import sys
from typing import TYPE_CHECKING

from reconciler.linux.proc_files import read_proc

if TYPE_CHECKING:
    from hashlib import _Hash

_LARGE = 1 << 20
_MUCH = 32 << 20  # in all: what takes a tenth of a second without OpenSSL
_OPENSSL = "_hashlib"
# Of hashlib; an interpreter that is to hash by OpenSSL alone has none of them, and one before 3.12 has the first two.
_OWN = ("_md5", "_sha1", "_blake2", "_sha3")
_OWN_SHA2 = ("_sha256", "_sha512") if sys.version_info < (3, 12) else ("_sha2",)
_FIPS = "/proc/sys/crypto/fips_enabled"


class _Counted:
    """How many bytes this process has hashed, or is about to."""

    total = 0


def load_without_openssl() -> None:
    """Load hashlib and hmac for this process without OpenSSL, unless they are loaded or have nothing else."""
    if "hashlib" in sys.modules or _OPENSSL in sys.modules or _is_bound_to_openssl():
        return
    sys.modules[_OPENSSL] = None  # type: ignore[assignment]  # which the import system takes for absent
    try:
        with contextlib.suppress(ImportError):  # of a hashlib that cannot do without: it is loaded when it is needed
            importlib.import_module("hashlib")
            importlib.import_module("hmac")
    finally:
        del sys.modules[_OPENSSL]


def sha256_for(size: int) -> "_Hash":
    """Return a new SHA-256 for content of so many bytes: OpenSSL's, if it is there, once there is much."""
    _Counted.total += size
    if size >= _LARGE or _Counted.total >= _MUCH or _OPENSSL in sys.modules:
        try:
            from _hashlib import openssl_sha256
        except ImportError:
            pass
        else:
            return openssl_sha256()
    from hashlib import sha256  # most commands hash nothing

    return sha256()


def _is_bound_to_openssl() -> bool:
    """Whether this interpreter, or its host, hashes by OpenSSL alone."""
    with contextlib.suppress(OSError):
        if read_proc(_FIPS).strip() == "1":
            return True
    try:
        for name in (*_OWN, *_OWN_SHA2):
            importlib.import_module(name)
    except ImportError:
        return True
    return False
