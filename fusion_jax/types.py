"""The old address of `fusion_jax.records` and `fusion_jax.graphs`, for files that users wrote for version 0.1."""

from fusion_jax.graphs import Graph, check_edges, node_counts
from fusion_jax.records import Array, Batch, Fused, Info, Output, Target

__all__ = ["Array", "Batch", "Fused", "Graph", "Info", "Output", "Target", "check_edges", "node_counts"]
