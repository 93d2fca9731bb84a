"""What a command prints reaches the terminal, or is lost; it never stops the work."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any


def prepare() -> None:
    """Makes standard output and error take any text, and warnings one line each.

    Characters that the terminal's encoding lacks are replaced; what nobody reads any more is thrown away.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed before Python started
            stream = open(os.devnull, "w", encoding="utf-8")
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
            stream = _Patient(stream)
        setattr(sys, name, stream)
    warnings.showwarning = _one_line


class _Patient:
    """A text stream that goes on when its reader has gone away (`| head`, a closed terminal)."""

    def __init__(self, stream: Any):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        """From here on all goes nowhere, what still lies in the stream's buffer too."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def _one_line(message, category, filename, lineno, file=None, line=None) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=file or sys.stderr)
