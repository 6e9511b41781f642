"""Ask a FastCGI server for one page, as a proxy would."""

import socket
import struct

_BEGIN, _END, _PARAMS, _STDIN, _STDOUT = 1, 3, 4, 5, 6


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBHHBx", 1, kind, 1, len(content), 0) + content


def _pair(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    sizes = b"".join(
        bytes([len(each)]) if len(each) < 128 else struct.pack(">I", len(each) | 1 << 31) for each in (key, text)
    )
    return sizes + key + text


def page(port: int, script: str, query: str = "", within: float = 20.0) -> str:
    """The body of what the script answers. Raises OSError."""
    path = "/slow" if query else "/"
    params = {
        "SCRIPT_FILENAME": script, "REQUEST_METHOD": "GET", "QUERY_STRING": query, "REQUEST_URI": f"{path}?{query}",
        "SERVER_PROTOCOL": "HTTP/1.1", "GATEWAY_INTERFACE": "CGI/1.1",
    }  # fmt: skip
    with socket.create_connection(("127.0.0.1", port), within) as connection:
        connection.sendall(
            _record(_BEGIN, struct.pack(">HB5x", 1, 0))
            + _record(_PARAMS, b"".join(_pair(name, value) for name, value in params.items()))
            + _record(_PARAMS, b"")
            + _record(_STDIN, b"")
        )
        answer = b""
        with connection.makefile("rb") as reading:
            while head := reading.read(8):
                _, kind, _, size, padding = struct.unpack(">BBHHBx", head)
                content = reading.read(size + padding)[:size]
                if kind == _STDOUT:
                    answer += content
                elif kind == _END:
                    return answer.partition(b"\r\n\r\n")[2].decode()
    raise ConnectionResetError("the server closed before its answer was complete")
