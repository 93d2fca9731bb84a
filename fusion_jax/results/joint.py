"""A study that several processes work on: who comes later joins, and none begins another study in its folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from etils import epath

from fusion_jax.results.lock import briefly, joined


class Joint:
    """A folder that this process shares from `begun` to the end of the block: `with Joint(folder) as joint`."""

    def __init__(self, folder: epath.Path):
        self.folder, self.stack = folder, contextlib.ExitStack()

    def __enter__(self) -> Joint:
        return self

    def __exit__(self, *error) -> None:
        self.stack.close()

    @contextlib.contextmanager
    def begun(self) -> Iterator[bool]:
        """Joins the others. Yields whether there are none; within the block nobody else begins.

        What the block raises, the folder is not shared behind it.

        Raises:
            Held: a process has the folder alone.
        """
        with briefly(self.folder), contextlib.ExitStack() as stack:
            yield stack.enter_context(joined(self.folder))
            self.stack.push(stack.pop_all())
