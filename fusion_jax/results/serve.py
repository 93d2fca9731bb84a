"""The page of a study that runs, on this machine's own address: it follows what the folder holds.

Two things are answered, the page and its data; nothing else of the folder, nor of any other, can be asked for. Whoever
asks under another name than this machine's own (a site whose name was made to point here) is turned away.
"""

from __future__ import annotations

import hashlib
import http.server
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from fusion_jax.folders import Damaged
from fusion_jax.results import page, page_cells, page_data
from fusion_jax.results.lock import holder
from fusion_jax.results.store import Store

ADDRESS = "127.0.0.1"
REST = 5.0  # collecting may take one part in so many of the time: what is trained comes first


class Watched:
    """The data of a study's page, collected anew when the folder has changed, and not more often than it can bear."""

    def __init__(self, store: Store):
        self.store, self._lock = store, threading.Lock()
        self._seen, self._next = "", 0.0
        self._data: dict[str, Any] = {}

    def data(self) -> tuple[str, dict[str, Any]]:
        """What names the state of the folder, and the data; those that were there before where a file is damaged now.

        Raises:
            FileNotFoundError: the folder holds no study.
        """
        with self._lock:
            seen = fingerprint(self.store)
            if seen != self._seen and time.monotonic() >= self._next:
                begun = time.monotonic()
                self._collect()
                self._seen = seen
                self._next = time.monotonic() + (REST - 1) * (time.monotonic() - begun)
            return self._seen, self._data

    def _collect(self) -> None:
        try:
            self._data = page_data.collect(self.store)
        except (Damaged, FileNotFoundError):  # between two files that are replaced
            if not self._data:
                raise


def fingerprint(store: Store) -> str:
    """What the state of the folder's cells is told by, without reading a result: changes when they do.

    Raises:
        FileNotFoundError: the folder holds no study.
    """
    study = store.read_study()
    found = [holder(store.root), _written(store.root / "study.json")]
    for entry in study["cells"]:
        folder = store.cell(entry["id"])
        found += [_written(folder / name) for name in ("record.json", "failure.json")]
    found.append([cell["state"] for cell in page_cells.state(store, study).values()])
    return hashlib.sha256(repr(found).encode()).hexdigest()[:32]


def _written(path: Any) -> tuple[int, int] | None:
    try:
        about = os.stat(os.fspath(path))
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size


def serve(store: Store, port: int = 0, ready: Callable[[str], None] = lambda address: None) -> None:
    """Serves the page until it is interrupted.

    Args:
        port: 0 for any that is free.
        ready: called with the address, "http://127.0.0.1:port/".
    Raises:
        FileNotFoundError: the folder holds no study.
        OSError: the port is taken.
    """
    with server(store, port) as made:
        ready(f"http://{ADDRESS}:{made.server_port}/")
        made.serve_forever(poll_interval=0.2)


def server(store: Store, port: int = 0) -> http.server.ThreadingHTTPServer:
    """A server of the page that has not begun to serve. Raises as `serve`."""
    watched = Watched(store)
    watched.data()
    made = http.server.ThreadingHTTPServer((ADDRESS, port), _handler(watched))
    made.daemon_threads = True
    return made


def _handler(watched: Watched) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "fusion_jax", ""
        timeout = 60

        def do_GET(self) -> None:
            own = {f"{name}:{self.server.server_port}" for name in (ADDRESS, "localhost")}
            if self.headers.get_all("Host") not in [[name] for name in own]:
                return self._send(403, "text/plain", b"this page is for this machine only\n")
            if self.path not in ("/", "/data.json"):
                return self._send(404, "text/plain", b"there are / and /data.json\n")
            try:
                tag, data = watched.data()
            except (OSError, ValueError) as error:
                return self._send(503, "text/plain", f"{error}\n".encode())
            if self.path == "/":
                return self._send(200, "text/html", page.assemble(data, served=True))
            if self.headers.get("If-None-Match") == f'"{tag}"':
                return self._send(304, "", b"", tag)
            return self._send(200, "application/json", page.as_text(data).encode(), tag)

        def _send(self, status: int, kind: str, content: bytes, tag: str = "") -> None:
            self.send_response(status)
            headers = {
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Referrer-Policy": "no-referrer",
            }
            headers |= {"Content-Type": f"{kind}; charset=utf-8"} if kind else {}
            headers |= {"ETag": f'"{tag}"'} if tag else {}
            headers |= {"Content-Length": str(len(content))} if status != 304 else {}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            del format, args  # every other second one line would say that it was asked

    return Handler
