"""The page of a study that runs, on this machine's own address: it follows what the folder holds.

Three things are answered, the page, its data and the state of its cells, to GET and to HEAD; nothing else of the
folder, nor of any other, can be asked for. Whoever asks under another name than this machine's own (a site whose name
was made to point here) is turned away.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from fusion_jax.folders import Damaged
from fusion_jax.results import page, page_cells, page_data
from fusion_jax.results.store import Store

ADDRESS = "127.0.0.1"
REST = 5.0  # collecting may take one part in so many of the time: what is trained comes first


class Watched:
    """The data of a study's page, collected anew when results have come, and not more often than it can bear."""

    def __init__(self, store: Store):
        self.store, self._lock = store, threading.Lock()
        self._next, self._data = 0.0, {"results": ""}

    def data(self) -> dict[str, Any]:
        """The page's data, with what names its `results`: those that were there before where a file is damaged now.

        Raises:
            FileNotFoundError: the folder holds no study.
        """
        with self._lock:
            found = results(self.store)
            if found != self._data["results"] and time.monotonic() >= self._next:
                begun = time.monotonic()
                self._collect(found)
                self._next = time.monotonic() + (REST - 1) * (time.monotonic() - begun)
            return self._data

    def _collect(self, found: str) -> None:
        try:
            self._data = {**page_data.collect(self.store), "results": found}
        except (Damaged, FileNotFoundError):  # between two files that are replaced
            if not self._data["results"]:
                raise

    def status(self) -> dict[str, Any]:
        """The state of every cell, how many are in which, and what names the folder's results; reads none of them.

        Raises:
            FileNotFoundError: the folder holds no study.
        """
        states = page_cells.state(self.store, self.store.read_study())
        return dict(results=results(self.store), status=page_cells.counts(states), cells=states)


def results(store: Store) -> str:
    """What names the results of a folder: it changes when they do.

    Raises:
        FileNotFoundError: the folder holds no study.
    """
    names = [(entry["id"], name) for entry in store.read_study()["cells"] for name in ("record.json", "failure.json")]
    found = [_written(store.root / "study.json"), *(_written(store.cell(cell) / name) for cell, name in names)]
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
    answers = {"/data.json": watched.data, "/status.json": watched.status}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "fusion_jax", ""
        timeout = 60

        def do_GET(self) -> None:
            own = {f"{name}:{self.server.server_port}" for name in (ADDRESS, "localhost")}
            if self.headers.get_all("Host") not in [[name] for name in own]:
                return self._send(403, "text/plain", b"this page is for this machine only\n")
            try:
                made = page.assemble(watched.data(), served=True) if self.path == "/" else b""
                told = page.as_text(answers[self.path]()).encode() if self.path in answers else b""
            except (OSError, ValueError) as error:
                return self._send(503, "text/plain", f"{error}\n".encode())
            except Exception as error:  # a result that was half read; whoever asks is answered all the same
                return self._send(503, "text/plain", f"{type(error).__name__}: {error}\n".encode())
            if made:
                return self._send(200, "text/html", made)
            if told:
                return self._send_json(told)
            return self._send(404, "text/plain", f"there are /, {' and '.join(answers)}\n".encode())

        do_HEAD = do_GET

        def _send_json(self, content: bytes) -> None:
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            known = self.headers.get("If-None-Match") == tag
            self._send(304 if known else 200, "" if known else "application/json", b"" if known else content, tag)

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
            headers |= {"ETag": tag} if tag else {}
            headers |= {"Content-Length": str(len(content))} if status != 304 else {}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError, TimeoutError):  # whoever asked has gone
                super().handle()

        def log_message(self, format: str, *args: Any) -> None:
            del format, args  # every other second one line would say that it was asked

    return Handler
