"""Apps in several languages that serve themselves: the files of each, and the fields of its manifest.

Each answers its version to `/`, and after that many seconds to `/slow?SECONDS`.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.ports import a_port
from tests.support.site import Site

_NODE = """\
const server = require("http").createServer((request, response) => {
  const seconds = request.url.startsWith("/slow?") ? Number(request.url.slice(6)) : 0;
  setTimeout(() => response.end("VERSION"), 1000 * seconds);
});
server.listen(WHERE);
"""
_PYTHON = """\
import http.server, os, socket, socketserver, time

class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        time.sleep(float(self.path[6:]) if self.path.startswith("/slow?") else 0)
        self.send_response(200)
        self.send_header("Content-Length", str(len("VERSION")))
        self.end_headers()
        self.wfile.write(b"VERSION")
    def log_message(self, *_):
        pass
    def address_string(self):
        return ""

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True
    def get_request(self):
        connection, _ = self.socket.accept()
        return connection, ("", 0)

class Unix(Server):
    address_family = socket.AF_UNIX
    def server_bind(self):
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "unix", 0

if "SOCKET" in os.environ:
    server = Unix(os.environ["SOCKET"], Answer)
elif os.environ.get("LISTEN_FDS") == "1" and os.environ.get("LISTEN_PID") == str(os.getpid()):
    server = Server(("127.0.0.1", 0), Answer, bind_and_activate=False)
    server.socket = socket.socket(fileno=3)
else:
    server = Server((os.environ["HOST"], int(os.environ["PORT"])), Answer)
server.serve_forever()
"""
_RUBY = """\
run lambda { |env|
  sleep(env["QUERY_STRING"].to_f) if env["PATH_INFO"] == "/slow"
  [200, {"content-type" => "text/plain"}, ["VERSION"]]
}
"""
_PHP = """\
<?php
$path = parse_url($_SERVER["REQUEST_URI"], PHP_URL_PATH);
if ($path == "/slow") { usleep((int) (1e6 * (float) $_SERVER["QUERY_STRING"])); }
echo "VERSION";
"""
_FPM = """\
[global]
error_log = /dev/stderr
daemonize = no
[www]
listen = ${SOCKET}
pm = static
pm.max_children = 4
"""
_JAVA = """\
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;

public class Server {
  public static void main(String[] arguments) throws Exception {
    int port = Integer.parseInt(System.getenv("PORT"));
    HttpServer server = HttpServer.create(new InetSocketAddress(System.getenv("HOST"), port), 0);
    server.setExecutor(Executors.newFixedThreadPool(8));
    server.createContext("/", exchange -> {
      String query = exchange.getRequestURI().getQuery();
      if (exchange.getRequestURI().getPath().equals("/slow")) {
        try { Thread.sleep((long) (1000 * Double.parseDouble(query))); } catch (InterruptedException e) { }
      }
      byte[] body = "VERSION".getBytes();
      exchange.sendResponseHeaders(200, body.length);
      exchange.getResponseBody().write(body);
      exchange.close();
    });
    server.start();
  }
}
"""
_GO = """\
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

func main() {
	http.HandleFunc("/", func(answer http.ResponseWriter, request *http.Request) {
		if request.URL.Path == "/slow" {
			seconds, _ := strconv.ParseFloat(request.URL.RawQuery, 64)
			time.Sleep(time.Duration(seconds * float64(time.Second)))
		}
		fmt.Fprint(answer, "VERSION")
	})
	listener, failed := net.FileListener(os.NewFile(3, "listener"))
	if failed != nil {
		fmt.Fprintln(os.Stderr, "fatal:", failed)
		os.Exit(1)
	}
	http.Serve(listener, nil)
}
"""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One way to serve an app: its files, in which VERSION stands for the version, and its manifest's fields.

    `needs` is the program of the host without which it cannot be tried, `broken` the text that replaces the first file
    for a release that does not start, and `why` a part of what is said of that. `speaks` is what its socket speaks.
    """

    name: str
    needs: str
    files: Mapping[str, str]
    fields: Mapping[str, Any] = field(default_factory=dict)
    broken: str
    why: str
    speaks: str = "HTTP"

    @property
    def program(self) -> str | None:
        return shutil.which(self.needs, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/usr/local/sbin")

    def require(self) -> None:
        if self.program is None:
            pytest.skip(f"this host has no {self.needs}")

    def write(self, site: Site, name: str, version: str) -> None:
        """Write the source of a version; the file that tells the version last."""
        directory = site.root / "apps" / name
        directory.mkdir(exist_ok=True)
        for file, text in reversed(list(self.files.items())):
            new = text.replace("VERSION", version)
            if not (directory / file).exists() or (directory / file).read_text() != new:
                site.save(directory / file, new)

    def app(self, site: Site, name: str, version: str = "1", **fields: Any) -> int:
        """Write source and manifest; return the port."""
        port = int(fields.setdefault("port", a_port()))
        self.write(site, name, version)
        health = {} if self.speaks != "HTTP" else {"health": {"path": "/"}}
        site.manifest(name, **{**health, **self.fields, **fields})
        return port

    def broken_release(self, site: Site, name: str) -> None:
        """Replace the source by one that cannot start."""
        site.save(site.root / "apps" / name / next(iter(self.files)), self.broken)


def node(listen: str) -> Kind:
    where = {"descriptor": "{fd: 3}", "socket": "process.env.SOCKET", "port": "process.env.PORT, process.env.HOST"}
    return Kind(
        name=f"node by {listen}",
        needs="node",
        files={"server.js": _NODE.replace("WHERE", where[listen])},
        fields={"command": ["node", "server.js"], "listen": listen},
        broken="throw new Error('no such colour');\n",
        why="Error: no such colour",
    )


def python(listen: str) -> Kind:
    return Kind(
        name=f"python by {listen}",
        needs="python3",
        files={"server.py": _PYTHON},
        fields={"command": "python3 server.py", "listen": listen},
        broken="raise ValueError('no such colour')\n",
        why="ValueError: no such colour",
    )


PUMA = Kind(
    name="puma by descriptor",
    needs="puma",
    files={"config.ru": _RUBY},
    fields={"command": "puma --quiet --bind-to-activated-sockets=only"},
    broken="raise 'no such colour'\n",
    why="no such colour",
)
PHP = Kind(
    name="php by port",
    needs="php",
    files={"index.php": _PHP, "composer.json": '{"name": "blog/blog"}\n'},
    fields={"command": ["php", "-S", "$HOST:$PORT"], "env": {"PHP_CLI_SERVER_WORKERS": "4"}},
    broken="<?php http_response_code(500); echo 'no such colour';\n",
    why="GET / answered 500",
)
PHP_FPM = Kind(
    name="php-fpm by socket",
    needs="php-fpm8.2",
    files={"index.php": _PHP, "php-fpm.conf": _FPM},
    fields={"command": ["/usr/sbin/php-fpm8.2", "-F", "-R", "-y", "php-fpm.conf"], "listen": "socket"},
    broken="<?php",
    why="",
    speaks="FastCGI",
)
JAVA = Kind(
    name="java by port",
    needs="javac",
    files={"Server.java": _JAVA},
    fields={
        "build": "javac Server.java",
        "command": "java -Xshare:auto -XX:TieredStopAtLevel=1 Server",
        "listen": "port",
    },
    broken='public class Server { public static void main(String[] a) { throw new Error("no such colour"); } }\n',
    why="no such colour",
)
GO = Kind(
    name="go by descriptor",
    needs="go",
    files={"main.go": _GO, "go.mod": "module blog\n\ngo 1.19\n"},
    fields={"listen": "descriptor"},
    broken='package main\n\nfunc main() { panic("no such colour") }\n',
    why="no such colour",
)
_ASGI = """\
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/slow":
        await asyncio.sleep(float(scope["query_string"]))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len("VERSION"))]})
    await send({"type": "http.response.body", "body": b"VERSION"})
"""


def server_of_python(package: str, command: str, listen: str = "descriptor") -> Kind:
    return Kind(
        name=f"{package} by {listen}",
        needs="python3",
        files={"web.py": _ASGI, "requirements.txt": f"{package}\n"},
        fields={"command": command, "listen": listen},
        broken="raise ValueError('no such colour')\n",
        why="no such colour",
    )


PYTHONS = (
    server_of_python("uvicorn", "uvicorn web:app --fd 3"),
    server_of_python("hypercorn", "hypercorn web:app --bind fd://3"),
    server_of_python("daphne", "daphne --fd 3 web:app"),
    server_of_python("granian", "granian --interface asgi --host $HOST --port $PORT web:app", "port"),
)
EVERYDAY = (node("descriptor"), python("socket"))
EVERY = (*EVERYDAY, python("port"), node("socket"), node("port"), python("descriptor"), PUMA, PHP, PHP_FPM, JAVA, GO)
