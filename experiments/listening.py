"""Who hears of a run: the display that the command line asks for, the folder (`run.followed`), and the writers."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from absl import flags
from rich.console import Console

from fusion_jax import zoo
from fusion_jax.results.store import Store
from fusion_jax.run.display.base import choices, chosen
from fusion_jax.run.followed import Followed
from fusion_jax.run.listeners import Listener, Listeners
from fusion_jax.training.stopping import Stopped

FLAGS = flags.FLAGS


def define() -> None:
    """The flags --display=NAME, and one a writer."""
    shown = "what is shown while it runs, a file of fusion_jax/run/display; auto: rich on a terminal, else plain"
    flags.DEFINE_enum("display", "auto", choices(), shown)
    for name in zoo.names("writer"):
        flags.DEFINE_string(name, None, zoo.module("writer", name).__doc__.split("\n")[0])


def console() -> Console:
    """Where commands print: as wide as the terminal; wide enough for any line where there is none."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200)


@contextlib.contextmanager
def listening(console: Console, store: Store, **own: Callable[[Console], Listener]) -> Iterator[Listeners]:
    """The display and the writers that are asked for, told of an interruption and closed behind the block.

    Args:
        own: a command's displays by name, where it has others than the package.
    Raises:
        ValueError, ImportError: a writer does not take its value, or its package is not installed; says which.
    """
    name = chosen(FLAGS.display, console)
    display = own[name] if name in own else zoo.get("display", name)
    asked = {name: FLAGS[name].value for name in zoo.names("writer")}
    writers = [zoo.get("writer", name)(value, store.root) for name, value in asked.items() if value is not None]
    listeners = Listeners([display(console), Followed(store), *writers])
    try:
        yield listeners
    except (KeyboardInterrupt, Stopped):
        listeners.interrupted()
        raise
    finally:
        listeners.close()
