"""A daemon hashes without OpenSSL until there is much to hash; its digests are the same."""

import hashlib
import hmac
import json
import subprocess
import sys

import pytest

from reconciler.linux.light_hashes import sha256_for

# What each way of hashing finds, and whether OpenSSL is loaded before and after something large is hashed.
STORY = """
import json, sys
from reconciler.linux.light_hashes import load_without_openssl, sha256_for
{before}
load_without_openssl()
import hashlib, hmac, secrets
of_own = [hashlib.new(name, b"x", usedforsecurity=False).hexdigest() for name in ("md5", "sha1", "sha256", "sha512")]
of_own.append(hmac.new(b"key", b"x", hashlib.sha256).hexdigest())
is_loaded = ["_hashlib" in sys.modules]
found = [sha256_for(size) for size in (1, 1 << 30)]
for each in found:
    each.update(b"x")
is_loaded.append("_hashlib" in sys.modules)
print(json.dumps([of_own, is_loaded, [each.hexdigest() for each in found], secrets.compare_digest("a", "a")]))
"""
OF_X = hashlib.sha256(b"x").hexdigest()


def told(before: str = "") -> list[object]:
    code = STORY.format(before=before)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr == ""
    return list(json.loads(done.stdout))


def test_openssl_is_loaded_for_what_is_large_alone() -> None:
    expected = [hashlib.new(name, b"x").hexdigest() for name in ("md5", "sha1", "sha256", "sha512")]
    expected.append(hmac.new(b"key", b"x", "sha256").hexdigest())
    of_own, is_loaded, found, equal = told()
    assert of_own == expected
    assert is_loaded == [False, True]
    assert found == [OF_X, OF_X]
    assert equal


@pytest.mark.parametrize(
    "before",
    [
        "import hashlib",
        "sys.modules['_sha1'] = None",  # as of an interpreter that is to hash by OpenSSL alone
    ],
)
def test_where_openssl_is_loaded_or_the_only_way_it_is_left_so(before: str) -> None:
    of_own, is_loaded, found, _ = told(before)
    assert is_loaded == [True, True]
    assert found == [OF_X, OF_X]
    assert of_own == told()[0]


def test_a_digest_is_the_same_whatever_the_size() -> None:
    for size in (0, 1 << 40):
        digest = sha256_for(size)
        digest.update(b"x")
        assert digest.hexdigest() == OF_X


def test_openssl_is_loaded_once_there_was_much_in_many_small_parts() -> None:
    code = (
        "import sys\n"
        "from reconciler.linux.light_hashes import load_without_openssl, sha256_for\n"
        "load_without_openssl()\n"
        "for _ in range(31): sha256_for(1 << 19)\n"
        "print('_hashlib' in sys.modules)\n"
        "for _ in range(40): sha256_for(1 << 19)\n"
        "print('_hashlib' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"]


def test_the_daemon_loads_hashes_without_openssl() -> None:
    code = (
        "import sys\n"
        "from reconciler.linux.light_hashes import load_without_openssl\n"
        "load_without_openssl()\n"
        "import reconciler.daemon.process, reconciler.cli.run, hashlib\n"
        "print(hashlib.sha256.__module__, '_hashlib' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split()[0] in {"_sha256", "_sha2"}
    assert done.stdout.split()[1] == "False"
