"""What kind of mechanism a file holds."""

from __future__ import annotations

import inspect
import os
import traceback
from typing import Any

from fusion_jax import zoo
from fusion_jax.controls.base import Control
from fusion_jax.encoders.base import Encoder
from fusion_jax.fusion.base import Fusion
from fusion_jax.layers.base import GraphLayer
from fusion_jax.mixers.base import Mixer
from fusion_jax.readouts.base import Readout
from fusion_jax.schemes.base import Scheme

BASES = {
    Fusion: "fusion",
    GraphLayer: "layer",
    Encoder: "encoder",
    Readout: "readout",
    Scheme: "scheme",
    Control: "control",
    Mixer: "mixer",
}


def kind_of(name: str, said: str = "") -> str:
    """The kind of the mechanism of that name: by its class's base, or by what a function takes.

    Args:
        said: what the user says it is, where it cannot be told.
    Raises:
        FileNotFoundError: no such file.
        ValueError: the file cannot be executed; it holds nothing of its name, or of no kind that can be told, or of
            another one than `said`; or a name that no kind, or more than one, has in the catalogue.
    """
    if zoo.is_path(name):
        mechanism = executed(name)
        found = _kind(mechanism)
        if found and said and found != said:
            raise ValueError(f"{name}: {mechanism.__name__} is a {found}, not a {said}")
        if not (found or said):
            bases = ", ".join(base.__name__ for base in BASES)
            raise ValueError(
                f"{name}: the kind of {mechanism.__name__} cannot be told: derive a class from one of {bases}, "
                f"or say --kind"
            )
        return found or said
    found = [said] if said else [kind for kind in zoo.KINDS if name in zoo.names(kind)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{name!r} is the name of {' and '.join(found)}: say which with --kind")
    known = [known for kind in zoo.KINDS for known in zoo.names(kind)]
    raise ValueError(f"no mechanism named {name!r}{zoo.nearest(name, known)}; a file's path ends in .py")


def executed(path: str) -> Any:
    """What a file defines under its name; the file is executed, and nothing else.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it cannot be executed, in one line with the file's; or it defines nothing of its name.
    """
    try:
        return zoo.get("mechanism", path)
    except ValueError as error:
        cause = error.__cause__
        if cause is None:
            raise
        own = [f.lineno for f in traceback.extract_tb(cause.__traceback__) if f.filename == zoo.absolute(path)]
        line = cause.lineno if isinstance(cause, SyntaxError) else own[-1] if own else "?"
        said = cause.msg if isinstance(cause, SyntaxError) else str(cause) or "it ends the program"
        raise ValueError(f"{os.fspath(path)}, line {line}: {type(cause).__name__}: {said}") from cause


def _kind(mechanism: Any) -> str:
    """ "" where it cannot be told."""
    if inspect.isclass(mechanism):
        return next((kind for base, kind in BASES.items() if issubclass(mechanism, base)), "")
    first = next(iter(inspect.signature(mechanism).parameters), "")
    return "loss" if first == "output" else ""
