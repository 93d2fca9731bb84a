"""Survival: the time to an event, of which a prediction is the log-risk [N, 1]; of some rows the end is not seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusion_jax.arrays import flags, lost_column, one_column, refuse, single
from fusion_jax.tasks.base import Field, Task
from fusion_jax.tasks.values import floats


def to_time(value: Any, where: str) -> np.ndarray:
    """float32 or float64 [N]."""
    array = one_column(floats(value, where, "numbers [N]"))
    if array.ndim != 1:
        refuse(where, f"shape {array.shape}", "one time a row, [N]")
    if np.isfinite(array).all() and lost_column(array[:, None]) is not None:
        refuse(where, f"times about {array.mean():g} that float32 cannot tell apart", "times since a nearer origin")
    return array


def to_event(value: Any, where: str) -> np.ndarray:
    """bool [N]; 0 and 1 too."""
    array = one_column(flags(value, where, f"bool {np.shape(value)}"))
    if array.ndim != 1:
        refuse(where, f"{array.dtype} {array.shape}", "one event a row, bool [N]")
    return array


class Survival(Task):
    """`time` float [N], > 0, until event or censoring; `event` bool [N], true where the event was seen."""

    fields = {"time": Field(to_time, hidden=1), "event": Field(to_event, hidden=False)}
    loss = "cox"
    primary = "c_index"

    def validate(self, target, data, fail):
        del data
        bad = np.flatnonzero(~(np.isfinite(single(target.time)) & (single(target.time) > 0)))
        if bad.size:
            fail("target.time", f"row {bad[0]} holds {target.time[bad[0]]}", "finite times > 0 (in float32)")
        if target.event.shape != target.time.shape:
            fail("target.event", f"{target.event.dtype} {target.event.shape}", f"bool {target.time.shape}")
        if not target.event.any():
            fail("target.event", "no event at all", "at least one event (all rows are censored)")

    def check_split(self, target, parts, where):
        for part in ("train", "val"):  # without an event a part's loss is 0 whatever the model says
            if not target.event[parts[part]].any():
                raise ValueError(f"{where}: the {part} part has no event; expected at least one")
