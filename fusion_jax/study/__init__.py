"""Studies: every key once, the cells a study file makes of them, and what names a cell."""

from fusion_jax.study.cell import Cell
from fusion_jax.study.claims import Claim, claim_of, claims_of
from fusion_jax.study.expand import alike, differences, expand, set_by_all, short, with_values
from fusion_jax.study.files import load, mistakes_in, published, split
from fusion_jax.study.identity import SCHEMA
from fusion_jax.study.keys import OPEN, flatten, set_key, unknown
from fusion_jax.study.resolve import VALIDATION_LABELS, resolve
from fusion_jax.study.tuning import Tuning

__all__ = [
    "OPEN",
    "SCHEMA",
    "VALIDATION_LABELS",
    "Cell",
    "Claim",
    "Tuning",
    "alike",
    "claim_of",
    "claims_of",
    "differences",
    "expand",
    "flatten",
    "load",
    "mistakes_in",
    "published",
    "resolve",
    "set_by_all",
    "set_key",
    "short",
    "split",
    "unknown",
    "with_values",
]
