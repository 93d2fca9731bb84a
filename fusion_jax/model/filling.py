"""What an encoder is given of the nodes that lack its modality, under the policies that decide it before encoding."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from fusion_jax.graphs import Graph
from fusion_jax.nn.feature_propagation import propagated
from fusion_jax.records import Array

FILLING = ("indicator", "propagate")  # with which an encoder reads what the sparse form of the features has not


def given_widths(missing: str, feature_dims: Mapping[str, int]) -> dict[str, int]:
    """{modality: width of what its encoder reads}: with "indicator" one column more than the modality has."""
    return {name: d + (missing == "indicator") for name, d in feature_dims.items()}


def given(missing: str, x: Array, mask: Array, graph: Graph | None) -> Array:
    """x [N, d] as the encoder reads it, whatever stands in the rows where `mask` bool [N] is false.

    They are 0, which is the training mean of standardised features; with "indicator" there is one more column, 1 in
    those rows and 0 in all others; with "propagate" they are what their neighbours say (`nn.feature_propagation`).

    Args:
        graph: the modality's edge set.
    Raises:
        ValueError: "propagate", and there is no graph.
    """
    x = jnp.where(mask[:, None], x, 0)
    if missing == "indicator":
        return jnp.concatenate([x, 1 - mask[:, None].astype(x.dtype)], axis=1)
    if missing == "propagate":
        if graph is None:
            raise ValueError(
                "model.missing='propagate' fills what is missing from neighbours: this data set has no graph"
            )
        return propagated(x, mask, graph)
    return x
