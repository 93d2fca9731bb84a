"""fusion_jax: ablations of multimodal feature fusion on graphs.

    import fusion_jax as fj

    study = fj.ablate(data, fusions=["concat_mlp", "gmu"], seeds=10)

What is named in `__all__` is loaded when it is first used, so that the import itself costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

from fusion_jax import flaws

__version__ = "0.2.0"
__all__ = ["Dataset", "Predictor", "Study", "ablate", "load_data", "load_exported", "load_study"]


flaws.avoid()  # before JAX is asked for anything


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("fusion_jax.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
