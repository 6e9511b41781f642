"""What an isolated app is told to change, by what it said when it ended."""

import pytest

from reconciler.planning.isolation.remedies import remedy, remedy_of_build

CASES = {
    "OSError: [Errno 30] Read-only file system: '/state/apps/shop/code/cache.db' at app.py:3": (
        "isolated, it cannot write /state/apps/shop/code/cache.db: 'persist' keeps what is named there, and $HOME all"
    ),
    "Error: EROFS: read-only file system, open '/state/x'": (
        "isolated, it cannot write /state/x: 'persist' keeps what is named there, and $HOME all"
    ),
    "FileNotFoundError: [Errno 2] No such file or directory: '/srv/there'": (
        "isolated, it sees /srv/there only if 'mounts' names a directory that it is in"
    ),
    "Error: ENOENT: no such file or directory, open '/srv/there'": (
        "isolated, it sees /srv/there only if 'mounts' names a directory that it is in"
    ),
    "PermissionError: [Errno 13] Permission denied: '/srv/there'": (
        "isolated, it sees /srv/there only if 'mounts' names a directory that it is in"
    ),
    "PermissionError: [Errno 13] Permission denied at app.py:3": (
        "isolated, it opens no port of its own: 'network: {listen: true}' lets it"
    ),
    "Error: listen EACCES: permission denied 0.0.0.0:9000": (
        "isolated, it opens no port of its own: 'network: {listen: true}' lets it"
    ),
    "OSError: [Errno 97] Address family not supported by protocol": (
        "isolated, it opens no socket of that kind: 'network.connect' may be none"
    ),
    "redis: Error 111 connecting to 127.0.0.1:8001. Connection refused.": (
        "isolated, it connects to another app of this host only if 'network.connect' names where, as [all, 8001]"
    ),
    "connect ECONNREFUSED ::1:8001": (
        "isolated, it connects to another app of this host only if 'network.connect' names where, as [all, 8001]"
    ),
    "ConnectionRefusedError: [Errno 111] Connection refused": "",
    "PermissionError: [Errno 1] Operation not permitted": (
        "isolated, it may not make a system call that it made: 'isolation: none' lets it"
    ),
    "FileNotFoundError: [Errno 2] No such file or directory: '/etc/absent'": "",
    "FileNotFoundError: [Errno 2] No such file or directory: 'relative'": "",
    "ModuleNotFoundError: No module named 'django'": "",
    "": "",
}


@pytest.mark.parametrize("said", CASES)
def test_an_error_that_isolation_causes_is_told_with_the_field_that_helps(said: str) -> None:
    assert remedy(said) == CASES[said]


@pytest.mark.parametrize(
    ("said", "helps"),
    [
        (
            "uv failed (exit code 1): Distribution not found at: file:///srv/x-1-py3-none-any.whl",
            "isolated, its build sees /srv/x-1-py3-none-any.whl only if 'mounts' names a directory that it is in",
        ),
        (
            "OSError: [Errno 30] Read-only file system: '/usr/local/x'",
            "isolated, its build cannot write /usr/local/x: its code, $HOME and $TMPDIR are there for that",
        ),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: '/opt/headers'",
            "isolated, its build sees /opt/headers only if 'mounts' names a directory that it is in",
        ),
        ("uv failed (exit code 1): No solution found", ""),
    ],
)
def test_a_build_that_isolation_stops_is_told_what_helps(said: str, helps: str) -> None:
    assert remedy_of_build(said) == helps


@pytest.mark.parametrize(
    "said",
    [
        "ConnectionRefusedError: [Errno 111] Connection refused at app.py:3",
        "Error: connect ECONNREFUSED 10.0.0.7:5432",
        "connection to server at 10.0.0.7, port 5432 failed: Connection refused",
        "PermissionError: [Errno 13] Permission denied at app.py:3",
        "PermissionError: [Errno 1] Operation not permitted",
    ],
)
def test_an_app_with_a_list_is_told_of_that_when_a_connection_was_refused(said: str) -> None:
    assert (
        remedy(said, listed=True)
        == "isolated, it connects to nothing but what 'network.connect' lists, by host and port"
    )
    assert "network.connect" not in remedy(said)
