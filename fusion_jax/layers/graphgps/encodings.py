"""What a node's place in the graph says: a map of return probabilities, or a set function of eigenvectors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.nn.norm import MaskedBatchNorm
from fusion_jax.records import Array
from fusion_jax.structures.eigenvectors import Spectrum


class ReturnEncoding(nnx.Module):
    """p = W BN(r) + b, r the probabilities of being back after 1 to K steps (RWSE)."""

    def __init__(self, steps: int, out: int, *, rngs: nnx.Rngs):
        self.raw_norm, self.pe_encoder = MaskedBatchNorm(steps, rngs=rngs), nnx.Linear(steps, out, rngs=rngs)

    def __call__(self, landing: Array, counted: Array | None, *, training: bool) -> Array:
        """landing [N, K] -> [N, P]; statistics of the rows `counted`, bool [N]."""
        return self.pe_encoder(self.raw_norm(landing, counted, training=training))


class EigenvectorEncoding(nnx.Module):
    """p_i = sum_k f(v_k(i), lambda_k), f linear layers with a ReLU behind each (LapPE with DeepSets).

    Args:
        layers: of f, the hidden ones twice as wide.
    """

    def __init__(self, out: int, *, layers: int = 2, rngs: nnx.Rngs):
        widths = [2, *[2 * out] * (layers - 1), out]
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in pairs])

    def __call__(self, vectors: Array, values: Array, valid: Array, key: Array | None = None) -> Array:
        """vectors, values and valid [N, K], the eigenvalues those of each node's graph -> [N, P].

        With a key the sign of each eigenvector, which is a matter of convention, is drawn.
        """
        if key is not None:
            vectors = vectors * jax.random.rademacher(key, vectors.shape[-1:], vectors.dtype)
        h = jnp.stack([vectors, values], -1)
        for linear in self.layers:
            h = jax.nn.relu(linear(h))
        return jnp.where(valid[..., None], h, 0).sum(-2)

    def of(self, spectrum: Spectrum, graph_ids: Array, dtype, key: Array | None = None) -> Array:
        """[N, P] for the eigenvectors of a batch of graphs."""
        values, valid = spectrum.values[graph_ids], spectrum.valid[graph_ids]
        return self(spectrum.vectors.astype(dtype), values.astype(dtype), valid, key)
