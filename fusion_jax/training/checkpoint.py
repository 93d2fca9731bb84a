"""Checkpoints through Orbax: finished parameters as plain dicts, and the state of an interrupted cell.

Orbax numbers its operations once a process, so that two threads that save at a time fail or wait for each other for
ever: one lock lets them in one after another. And Orbax takes brackets in a folder's name for a pattern: it works in
a temporary folder with a plain name, from and to which the files are copied. The copy is where digests are made and
checked: a checkpoint is its files and `manifest.json`, written last, with the sha256 of each.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import pathlib
import tempfile
import threading
import time
import types
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from fusion_jax.folders import Damaged, digest, files, is_inside, made, read, read_checked
from fusion_jax.training import stopping

MANIFEST = "manifest.json"
_ORBAX = threading.Lock()


def save(path: epath.Path, tree: Any) -> None:
    """A pytree of arrays as a checkpoint at `path` (which must not exist); it appears whole or not at all."""
    path = epath.Path(path)
    if path.exists():
        raise ValueError(f"{os.fspath(path)} is there already")
    part = path.parent / f".tmp-{path.name}-{uuid.uuid4().hex[:8]}"
    try:
        with _plain_folder() as folder:
            with _ORBAX, _checkpointer() as checkpointer:
                checkpointer.save(epath.Path(folder / "save"), jax.tree.map(np.asarray, tree))
            manifest = {}
            for name, source in files(folder / "save").items():
                content = source.read_bytes()
                manifest[name] = digest(content)
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                (part / name).write_bytes(content)
        (part / MANIFEST).write_bytes(_manifest(manifest))
        part.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.rmtree()
        raise


def restore(path: epath.Path, like: Any = None) -> Any:
    """The pytree at `path` as NumPy arrays; with `like`, in its structure, shapes and dtypes.

    Raises:
        Damaged: a file is not what was written; names it.
        ValueError: structure or shapes differ from `like`; lists missing and unexpected leaves.
    """
    path = epath.Path(path)
    with _plain_folder() as folder:
        for name, expected in _read_manifest(path / MANIFEST).items():
            target = folder / "save" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(read_checked(path / name, expected))
        with _ORBAX, _checkpointer() as checkpointer:
            found = checkpointer.restore(epath.Path(folder / "save"))
    found = jax.tree.map(np.asarray, found)
    if like is None:
        return found
    return _fit(found, like)


def _checkpointer() -> ocp.StandardCheckpointer:
    """One that saves and reads for this process; of several JAX processes (`run.pod`) it would wait for the others."""
    own = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(own, {own}, f"fusion_jax-{own}")
    return ocp.StandardCheckpointer(multiprocessing_options=alone)


@contextlib.contextmanager
def _plain_folder() -> Iterator[pathlib.Path]:
    """A new temporary folder without a pattern's characters in its path, removed at the end."""
    places = [p for p in (tempfile.gettempdir(), "/tmp", "/var/tmp") if glob.escape(p) == p and os.access(p, os.W_OK)]
    if not places:
        raise OSError(f"TMPDIR={tempfile.gettempdir()!r}: expected a folder without brackets, * and ? in its name")
    with tempfile.TemporaryDirectory(prefix="fusion_jax-", dir=places[0]) as folder:
        yield pathlib.Path(folder)


def _manifest(digests: dict[str, str]) -> bytes:
    return json.dumps(digests, indent=1, sort_keys=True).encode()


def _read_manifest(path: epath.Path) -> dict[str, str]:
    try:
        content = read(path)
    except FileNotFoundError as error:
        raise Damaged(f"{os.fspath(path)} is missing: the checkpoint was cut off or has no digests") from error
    try:
        digests = json.loads(content)
        whole = _manifest(digests) == content and all(map(is_inside, digests))
    except (ValueError, TypeError):
        whole = False
    if not whole:
        raise Damaged(f"{os.fspath(path)} is damaged: it is not the list of files that was written")
    return digests


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


def saved_state(path: epath.Path, like: Any) -> tuple[Any, list[dict[str, np.ndarray]], float, list[dict[str, Any]]]:
    """The state of a save in the form of `like`, its history, the seconds that training had taken, and with what.

    Raises:
        Damaged: a file is not what was written; names it. ValueError: the save is of another version.
    """
    saved = restore(path)
    try:
        made_with = json.loads(saved["made_with"].tobytes()) if "made_with" in saved else []
        return _fit(saved["state"], like), [dict(saved["history"])], float(saved["seconds"]), made_with
    except ValueError as error:
        raise ValueError(f"{path} is of another version (delete it to start anew): {error}") from None


def _other(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What of a save's environment is another now, in words."""
    before, after = _named(then), _named(now)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    said = ", ".join(f"{name} {str(before.get(name))[:80]!r}, now {str(after.get(name))[:80]!r}" for name in names[:4])
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"was made with {said}{more}: training goes on from it, and may not end bit for bit where either would"


def _named(environment: Mapping[str, Any]) -> dict[str, Any]:
    held = {key: value if isinstance(value, Mapping) else {"": value} for key, value in environment.items()}
    return {f"{key}.{name}".strip("."): value for key, own in held.items() for name, value in own.items()}


class Partial:
    """The state of a cell that is being trained, saved now and then at chunk borders.

    An interrupted cell goes on from the last save and ends bit for bit where it would have ended. Where it is asked to
    stop (`stopping`), it saves at the next border and raises Stopped.

    Args:
        folder: where; removed by `clear` when the cell is finished.
        every: seconds between two saves at least.
        progress: called with the history so far at every border.
        made_with: what numbers depend on besides the config, as JSON has it; kept with every save.
    """

    def __init__(
        self,
        folder: epath.Path,
        every: float,
        progress: Callable[[list[dict[str, np.ndarray]]], None] | None = None,
        made_with: Mapping[str, Any] = types.MappingProxyType({}),
    ):
        self.folder, self.every, self.progress = epath.Path(folder), every, progress
        self.made_with = json.loads(json.dumps(dict(made_with)))
        self.earlier: list[dict[str, Any]] = []  # what attempts before this one were made with, where it is another
        self.started = self.last = time.monotonic()
        self.before = 0.0  # seconds that attempts before this one have trained
        self.mine = ""  # the save that was made last, or gone on from; others are of attempts that were given up

    def restore(self, state: Any) -> tuple[Any, list[dict[str, np.ndarray]]] | None:
        """The newest saved state in the form of `state`, with its history; None where there is none.

        A damaged save is set aside, with a warning that names the file, and the one before it is taken. A warning says
        so where it was made with something else.
        """
        for path in reversed(self._steps()):
            try:
                *found, self.before, made_with = saved_state(path, state)
            except Damaged as error:
                aside = path.parent / f"damaged-{path.name}"
                if aside.exists():
                    aside.rmtree()
                path.rename(aside)
                warnings.warn(f"{error}; this save is set aside as {aside.name}", stacklevel=2)
                continue
            self.mine = path.name
            self.earlier = [one for one in made_with if one and one != self.made_with]
            if made_with and self.earlier[-1:] == made_with[-1:]:
                warnings.warn(f"{os.fspath(path)} {_other(made_with[-1], self.made_with)}", stacklevel=2)
            return tuple(found)
        return None

    def at_border(self, state: Any, history: list[dict[str, np.ndarray]]) -> None:
        if self.progress is not None:
            self.progress(history)
        if time.monotonic() - self.last < self.every and not stopping.is_asked():
            return
        joined = {k: np.concatenate([h[k] for h in history], axis=1) for k in history[0]}
        old = self._steps()
        made(self.folder)
        seconds = self.before + time.monotonic() - self.started
        name = f"step-{next(iter(joined.values())).shape[1]:08d}"
        made_with = np.frombuffer(json.dumps([*self.earlier, self.made_with]).encode(), np.uint8)
        tree = dict(state=flat(state), history=joined, seconds=np.array(seconds), made_with=made_with)
        save(self.folder / name, tree)
        for path in old:  # the one before stays, for where the new one turns out to be damaged
            if path.name != self.mine:
                path.rmtree()
        self.mine = name
        self.last = time.monotonic()
        stopping.check()

    def _steps(self) -> list[epath.Path]:
        """Whole saves in order; one that is being written, or is set aside, has another name."""
        found = self.folder.iterdir() if self.folder.exists() else []
        return sorted(p for p in found if p.name.startswith("step-") and p.name.removeprefix("step-").isdigit())

    def clear(self) -> None:
        if self.folder.exists():
            self.folder.rmtree()
