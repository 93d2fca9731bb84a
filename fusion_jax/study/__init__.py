"""Studies: every key once, the cells a study file makes of them, and what names a cell."""

from fusion_jax.study.cells import (
    SCHEMA,
    VALIDATION_LABELS,
    Cell,
    expand,
    flatten,
    load,
    mistakes_in,
    published,
    resolve,
    set_key,
    split,
    tell_apart,
)

__all__ = [
    "SCHEMA",
    "VALIDATION_LABELS",
    "Cell",
    "expand",
    "flatten",
    "load",
    "mistakes_in",
    "published",
    "resolve",
    "set_key",
    "split",
    "tell_apart",
]
