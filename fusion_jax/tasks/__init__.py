"""What is predicted: one task a file, which knows all there is to know of it. base.py is the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fusion_jax import zoo
from fusion_jax.records import Target
from fusion_jax.tasks.base import Task

_asked: dict[str, Task] = {}


def of(target: Target | str) -> Task:
    """The task of a target, or of that kind.

    Raises:
        ValueError: there is none of that name.
    """
    kind = target if isinstance(target, str) else target.kind
    task = zoo.get("task", kind)()
    _asked[zoo.absolute(kind)] = task
    return task


def asked() -> tuple[Task, ...]:
    """The tasks asked for so far; of those in files of their own nothing else tells that there are any."""
    return tuple(_asked.values())


def restored(about: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> Target:
    """The target that `Task.about` describes, from the columns of a stored table (`Task.columns`)."""
    return of(about["kind"]).restored(about, columns)


def primary(about: Mapping[str, Any]) -> str:
    """The metric that ranks, of the target that `Task.about` describes."""
    return of(about["kind"]).primary_of(about)
