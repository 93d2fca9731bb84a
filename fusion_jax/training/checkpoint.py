"""Checkpoints through Orbax: finished parameters as plain dicts, and the state of an interrupted cell."""

from __future__ import annotations

import time
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath


def save(path: epath.Path, tree: Any) -> None:
    """A pytree of arrays as an Orbax checkpoint at `path` (which must not exist)."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(epath.Path(path).resolve(), jax.tree.map(np.asarray, tree))


def restore(path: epath.Path, like: Any = None) -> Any:
    """The pytree at `path` as NumPy arrays; with `like`, in its structure, shapes and dtypes.

    Raises:
        ValueError: structure or shapes differ from `like`; lists missing and unexpected leaves.
    """
    with ocp.StandardCheckpointer() as checkpointer:
        found = checkpointer.restore(epath.Path(path).resolve())
    found = jax.tree.map(np.asarray, found)
    if like is None:
        return found
    return _fit(found, like)


def flat(tree: Any) -> dict[str, Any]:
    """{path: leaf}, a form every pytree has."""
    return {jax.tree_util.keystr(p): v for p, v in jax.tree_util.tree_leaves_with_path(tree)}


def _fit(found: dict[str, np.ndarray], like: Any) -> Any:
    wanted = flat(like)
    missing, unexpected = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    wrong = [k for k in set(wanted) & set(found) if np.shape(wanted[k]) != np.shape(found[k])]
    if missing or unexpected or wrong:
        raise ValueError(f"checkpoint does not fit: missing {missing}, unexpected {unexpected}, other shapes {wrong}")
    leaves = [jax.numpy.asarray(found[k], wanted[k].dtype) for k in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


class Partial:
    """The state of a cell that is being trained, saved now and then at chunk borders.

    An interrupted cell goes on from the last save and ends bit for bit where it would have ended.

    Args:
        folder: where; removed by `clear` when the cell is finished.
        every: seconds between two saves at least.
    """

    def __init__(self, folder: epath.Path, every: float):
        self.folder, self.every = epath.Path(folder), every
        self.started = self.last = time.monotonic()
        self.before = 0.0  # seconds that attempts before this one have trained

    def restore(self, state: Any) -> tuple[Any, list[dict[str, np.ndarray]]] | None:
        """The newest saved state in the form of `state`, with its history; None where there is none."""
        steps = self._steps()
        if not steps:
            return None
        saved = restore(steps[-1])
        try:
            moved = _fit(saved["state"], state)
        except ValueError as error:
            raise ValueError(f"{steps[-1]} is of another version (delete it to start anew): {error}") from None
        moved = jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), moved, state)
        self.before = float(saved["seconds"])
        return moved, [dict(saved["history"])]

    def at_border(self, state: Any, history: list[dict[str, np.ndarray]]) -> None:
        if time.monotonic() - self.last < self.every:
            return
        joined = {k: np.concatenate([h[k] for h in history], axis=1) for k in history[0]}
        old = self._steps()
        self.folder.mkdir(parents=True, exist_ok=True)
        seconds = self.before + time.monotonic() - self.started
        name = f"step-{next(iter(joined.values())).shape[1]:08d}"
        save(self.folder / name, dict(state=flat(state), history=joined, seconds=np.array(seconds)))
        for path in old:
            path.rmtree()
        self.last = time.monotonic()

    def _steps(self) -> list[epath.Path]:
        """Whole saves in order; one that was cut off while it was written has more than digits in its name."""
        found = self.folder.glob("step-*") if self.folder.exists() else []
        return sorted(p for p in found if p.name.removeprefix("step-").isdigit())

    def clear(self) -> None:
        if self.folder.exists():
            self.folder.rmtree()
