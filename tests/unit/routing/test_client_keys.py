"""The keys by which apps know the proxy: the same for every daemon, and there whatever the disk says."""

from pathlib import Path

from reconciler.routing.client_keys import ClientKeys


def test_every_daemon_and_no_other_app_has_the_key_of_an_app(tmp_path: Path) -> None:
    file = tmp_path / "proxy/key"
    first = ClientKeys(file)
    assert first.of("shop") == ClientKeys(file).of("shop")
    assert first.of("shop") != first.of("blog")
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_bytes(b"half")
    assert len(ClientKeys(file).of("shop")) == 32


def test_a_disk_that_takes_no_key_keeps_no_app_from_starting(tmp_path: Path) -> None:
    (tmp_path / "proxy").write_text("in the way")
    keys = ClientKeys(tmp_path / "proxy/key")
    assert keys.of("shop") == keys.of("shop")
