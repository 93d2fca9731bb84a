"""Parts of a model, named by dotted paths from the model on, such as "encoders" or "fusions.0.attention"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fusion_jax.zoo import nearest


def leaf_names(tree: Any) -> list[str]:
    """The dotted paths of all parameters, in the order of the tree's leaves."""
    return [
        jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")
        for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    ]


def inside(name: str, parts: Sequence[str]) -> bool:
    """Whether a parameter is in one of the parts."""
    return any(f"{name}.".startswith(f"{part}.") for part in parts)


def restricted_to(tree: Any, trains: Sequence[str], freezes: Sequence[str]) -> Any:
    """The gradients or updates with 0 in what a stage does not move: outside `trains` (() for all), inside `freezes`.

    Raises:
        ValueError: a part the model does not have.
    """
    if not trains and not freezes:
        return tree
    names = leaf_names(tree)
    for verb, parts in (("trains", trains), ("freezes", freezes)):
        if missing := sorted(part for part in parts if not any(inside(name, [part]) for name in names)):
            known = {".".join(steps[:n]) for steps in (name.split(".") for name in names) for n in range(1, len(steps))}
            top = sorted({name.split(".")[0] for name in names})
            near = nearest(missing[0], sorted(known | set(names)))
            raise ValueError(f"a stage {verb} {missing}{near}, the model has the parts {top}")
    moves = [(not trains or inside(name, trains)) and not inside(name, freezes) for name in names]
    leaves, structure = jax.tree.flatten(tree)
    kept = [x if moved else jnp.zeros_like(x) for x, moved in zip(leaves, moves, strict=True)]
    return jax.tree.unflatten(structure, kept)
