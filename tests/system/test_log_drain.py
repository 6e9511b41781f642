"""A daemon passes what its apps print on to a log server, and goes on after it was killed."""

import signal
import socket
from contextlib import suppress

from tests.support.eventually import eventually
from tests.support.site import Site, get


def test_a_log_server_receives_every_request_across_a_killed_daemon(site: Site) -> None:
    port = site.app("blog", env={"API_TOKEN": "s3cr3t-of-the-blog"})
    program = site.root / "apps" / "blog" / "wsgi.py"
    printing = 'print("asked for", environ["PATH_INFO"], os.environ["API_TOKEN"], flush=True)\n    '
    site.save(program, program.read_text().replace('start_response("200', f'{printing}start_response("200', 1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        settings = site.root / "host.yaml"
        settings.write_text(f"logs: {{to: 'udp://127.0.0.1:{server.getsockname()[1]}'}}\n")
        messages: list[str] = []

        def has_received(path: str, stream: str) -> bool:
            with suppress(BlockingIOError):
                while True:
                    messages.append(server.recv(4096).decode())
            return any(f" {stream} - " in message and path in message for message in messages)

        daemon = site.start("--settings", str(settings))
        eventually(site.serves("blog", "1", port))
        get(port, "/first")
        eventually(lambda: has_received("asked for /first", "app"))
        eventually(lambda: has_received("GET /first ", "access"))
        site.end(daemon, signal.SIGKILL)
        get(port, "/unwatched")
        site.start("--settings", str(settings))
        eventually(lambda: has_received("asked for /unwatched", "app"))
        get(port, "/last")
        eventually(lambda: has_received("asked for /last", "app"))
    assert all(message.startswith("<14>1 ") and " blog " in message for message in messages)
    assert not any("s3cr3t-of-the-blog" in message for message in messages)
    assert site.paths.drained.stat().st_mode & 0o777 == 0o600
