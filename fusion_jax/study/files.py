"""Study files: `FILE[:argument]`, a Python file with `get_config(arg)` and `sweep(add)` or `sweep(add, arg)`.

`tune()` says how its cells are tuned (`study.tuning`), if they are.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import re
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np

import fusion_jax
from fusion_jax import folders, metrics, zoo
from fusion_jax.study import defaults
from fusion_jax.study.keys import flatten, unknown
from fusion_jax.study.layout import RENAMED


def bundled() -> pathlib.Path:
    """The folder `configs` that comes with the package: inside of it where it is installed, beside it in a checkout."""
    package = pathlib.Path(fusion_jax.__file__).parent
    return next((p for p in (package / "configs", package.parent / "configs") if p.is_dir()), package / "configs")


def split(path: str) -> tuple[str, str | None]:
    """The file and the argument of `FILE[:argument]`; colons may stand in both, and the file is the one that exists.

    A file that is not there, and whose path begins with `configs/`, is one of those that come with the package.
    """
    path = folders.expand(path)
    heads = [path] + [path[:i] for i in range(len(path) - 1, 0, -1) if path[i] == ":"]
    for head in heads:
        argument = None if head == path else path[len(head) + 1 :]
        if pathlib.Path(head).is_file():
            return head, argument
        own = bundled().parent / head
        if pathlib.Path(head).parts[:1] == ("configs",) and own.is_file():
            return str(own), argument
    head = heads[min(1, len(heads) - 1)]
    return head, None if head == path else path[len(head) + 1 :]


def load(path: str):
    """The module of a study file (a `.py` file, executed as any Python file is).

    Raises:
        FileNotFoundError: no such file; ValueError: it cannot be executed (says why and where), or lacks get_config.
    """
    file = pathlib.Path(folders.expand(path))
    if not file.is_file():
        known = [p.relative_to(bundled().parent) for p in bundled().rglob("*.py")]
        near = zoo.nearest(str(file), map(str, known))
        raise FileNotFoundError(f"no study file {path!r}{near}")
    spec = importlib.util.spec_from_file_location(f"study_{file.stem}", file)
    if spec is None:
        raise ValueError(f"{path}: a study file is a Python file, with a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    with mistakes_in(file):
        spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ValueError(f"{path}: a study file defines get_config(arg='') (and sweep(add) for more than one cell)")
    return module


@contextlib.contextmanager
def mistakes_in(file: str | os.PathLike) -> Iterator[None]:
    """Runs code of a study file, which is the user's: whatever is wrong there is a mistake to be named.

    Raises:
        ValueError: for any exception, and for an exit of the program; names file, line. A ValueError or OSError of ours
            says itself what is wrong and stays as it is.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if f.filename == os.fspath(file)]
        ours = frames[-1] not in own and frames[-1].filename.startswith(os.path.dirname(fusion_jax.__file__) + os.sep)
        if isinstance(error, ValueError | OSError) and ours:
            raise
        line = error.lineno if isinstance(error, SyntaxError) else own[-1].lineno if own else None
        at = os.fspath(file) if line is None else f"{os.fspath(file)}, line {line}"
        said = _said(error, own[-1].line if own else "", frames[-1].filename)
        raise ValueError(f"{at}: {said}") from error


def _said(error: BaseException, line: str, raised_in: str) -> str:
    """What is wrong on a line of a study file; of a config's unknown key in the words of the command line."""
    if "ml_collections" in raised_in and isinstance(error, AttributeError | KeyError):  # prints the whole config
        leaf = re.sub(r"^\W*(Key )?\W*", "", str(error)).partition('"')[0].strip("'\"")
        written = re.search(rf"\w+((?:\.\w+)*?)[.\['\"]+{re.escape(leaf)}\b", line or "")
        key = f"{written[1] if written else ''}.{leaf}".removeprefix(".")
        renamed = [then for then in RENAMED.values() if then.rpartition(".")[2] == key]  # of a section by another name
        return unknown(renamed[0] if renamed else key, flatten(defaults.get_config().to_dict()))
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "configs":
        text += " (the keys a study starts from are in fusion_jax.study.defaults)"
    return text


def published(module) -> list[dict[str, Any]]:
    """The rows of a study's tables that are not run: `PUBLISHED` and `KNOWN` of its file, checked; () if it has none.

    A row of PUBLISHED, what others report on the data, is a dict: label; source, what to cite; data, the name of the
    data set; values, {metric: (mean, standard deviation)} as printed, fractions and not percent, the deviation None
    where none is printed. A row of KNOWN, what follows from how the data were made, such as the accuracy of the best
    classifier there can be, is the same with {metric: value}; it comes back with (value, None), and marked as known.

    Raises:
        ValueError: a row with other fields, or a metric that no table has.
    """
    fields, rows, known = ("label", "source", "data", "values"), [], metrics.known()
    for constant in ("PUBLISHED", "KNOWN"):
        for row in getattr(module, constant, ()):
            if sorted(row) != sorted(fields):
                raise ValueError(f"a row of {constant} has the fields {sorted(row)}, expected {sorted(fields)}")
            for metric, value in row["values"].items():
                plain = metric.rpartition(": ")[2]  # of several targets "colour: accuracy"
                if plain not in known or np.shape(value) != ((2,) if constant == "PUBLISHED" else ()):
                    near = "" if plain in known else zoo.nearest(plain, known)
                    form = "(mean, sd)" if constant == "PUBLISHED" else "number"
                    raise ValueError(f"{constant}, {row['label']}: {metric}={value!r}{near}; expected metric: {form}")
            if constant == "KNOWN":
                row = {**row, "values": {m: (float(v), None) for m, v in row["values"].items()}, "protocol": "known"}
            rows.append(dict(row))
    return rows
