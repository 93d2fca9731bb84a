"""Files outside the package that hold a mechanism: executed as they are when asked for, and known by their text."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import pathlib
import sys
import threading
from collections.abc import Iterator
from types import ModuleType


class Files:
    """The files outside that were executed, each the text it had.

    Attributes:
        executed: {path: the module of the text it had when it was last looked at}.
        running: paths being executed.
        holders: how many ask that a file be looked at once.
        looked: paths that were looked at since the first of the holders came.
    """

    def __init__(self):
        self.executed: dict[str, ModuleType] = {}
        self.running, self.looked, self.holders = set(), set(), 0
        self.lock = threading.RLock()  # a file that is executed may ask for others

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        with self.lock:
            self.holders += 1
        try:
            yield
        finally:
            with self.lock:
                self.holders -= 1
                if not self.holders:
                    self.looked.clear()

    def module(self, kind: str, path: str) -> ModuleType:
        with self.lock:
            if path in self.looked:
                return self.executed[path]
            if path in self.running:
                raise ValueError(f"{kind} file {path!r} is asked for while it is executed, expected no circle")
            if not pathlib.Path(path).is_file():
                raise FileNotFoundError(f"no {kind} file {path!r}")
            text = pathlib.Path(path).read_bytes()
            sha256 = hashlib.sha256(text).hexdigest()
            if getattr(self.executed.get(path), "__sha256__", None) != sha256:
                self.executed[path] = self.execute(kind, path, text, sha256)
            if self.holders:
                self.looked.add(path)
            return self.executed[path]

    def execute(self, kind: str, path: str, text: bytes, sha256: str) -> ModuleType:
        """The module of a text, known to `sys.modules` so that its classes can be pickled; once a process."""
        name = f"fusion_jax_file_{hashlib.sha256((path + sha256).encode()).hexdigest()[:12]}.{pathlib.Path(path).stem}"
        if name in sys.modules:
            return sys.modules[name]
        found = importlib.util.module_from_spec(importlib.util.spec_from_file_location(name, path))
        found.__sha256__ = sha256
        sys.modules[name] = found
        self.running.add(path)
        try:
            # The text that was hashed: the loader would read the file again, or what is kept of it in __pycache__.
            exec(compile(text, path, "exec", dont_inherit=True), vars(found))
        except BaseException as error:
            sys.modules.pop(name, None)
            if not isinstance(error, Exception | SystemExit):
                raise
            raise ValueError(f"{kind} file {path!r}: {type(error).__name__}: {error}") from error
        finally:
            self.running.discard(path)
        return found
