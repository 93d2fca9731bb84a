"""Token mixing of a sequence in six forms under one call, `mix(x, mask)`: of sets of any length, or of fixed length.

Reference: He and Kabic, "A Unified View of Long-Sequence Models towards Million-Scale Dependencies", 2023. Only its
abstract and its notation were to be read: the forms are those in which its ingredients are known. Golden
`long-sequence-unified`. Y = P(x) V(x) is what `mix` returns; what follows at each position is the caller's.

No weight sees a position that is not there; where there are no weights between positions it counts as 0. It has an
output too, which the caller leaves out.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import attend
from fusion_jax.nn.init import LECUN_NORMAL
from fusion_jax.nn.mlp import gelu
from fusion_jax.nn.presence import zero_absent
from fusion_jax.nn.ring_attention import attend_ring, ring_mesh
from fusion_jax.nn.running_softmax import attend_all, wide
from fusion_jax.records import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Groups:
    """Which positions belong together.

    Attributes:
        of: int [L], non-decreasing; None where all are one group.
        count: a number above all of them.
    """

    of: Array | None
    count: int = dataclasses.field(metadata=dict(static=True))


ONE = Groups(None, 1)


def graphs_of(graph: Graph | None, each: int = 1) -> Groups:
    """The nodes of each graph of a batch, `each` positions a node; without a graph all nodes are one."""
    if graph is None or graph.num_graphs == 1:
        return ONE
    return Groups(jnp.repeat(graph.graph_ids, each), graph.num_graphs)


class Mixer(Protocol):
    """What all forms have."""

    def mix(self, x: Array, mask: Array) -> Array:
        """x [L, D], finite; mask bool [L], true where something is there -> [L, width]."""


class _Projected(nnx.Module):
    """Queries, keys and values of H heads, without bias."""

    def __init__(self, dim: int, width: int, heads: int, *, rngs: nnx.Rngs):
        self.query = nnx.Linear(dim, width, use_bias=False, rngs=rngs)
        self.key = nnx.Linear(dim, width, use_bias=False, rngs=rngs)
        self.value = nnx.Linear(dim, width, use_bias=False, rngs=rngs)
        self.heads = heads

    def projected(self, x: Array) -> tuple[Array, Array, Array]:
        """[L, H, d] each."""
        return tuple(f(x).reshape(x.shape[0], self.heads, -1) for f in (self.query, self.key, self.value))


class Softmax(_Projected):
    """P = softmax_j(q_i . k_j / sqrt(d)) over the positions that are there, per head; memory is linear in L.

    Args:
        width: of queries, keys, values and what is returned; a multiple of `heads`.
        shards: over how many devices the positions are laid (`nn.ring_attention`).
        together: how many positions in a row stay on one device.
        block: how many queries and keys are at work at a time.
        who: begins the error where there are not so many devices.
    """

    def __init__(
        self,
        dim: int,
        width: int,
        heads: int,
        *,
        shards: int = 1,
        together: int = 1,
        block: int = 256,
        who: str = "Softmax",
        rngs: nnx.Rngs,
    ):
        super().__init__(dim, width, heads, rngs=rngs)
        ring_mesh(who, shards)  # refused here, not at the first call
        self.shards, self.together, self.block = shards, together, block

    def mix(self, x: Array, mask: Array, groups: Groups = ONE) -> Array:
        """Positions see those of their own group."""
        q, k, v, group = *self.projected(x), groups.of
        if self.shards == 1:
            y = attend_all(q, k, v, mask, group, block=self.block)
        else:
            mesh = ring_mesh("Softmax", self.shards)
            y = attend_ring(q, k, v, mask, group, mesh=mesh, together=self.together, block=self.block)
        return y.reshape(x.shape[0], -1)

    def weights(self, x: Array, mask: Array) -> Array:
        """P [H, L, L] of one group, which `mix` never holds."""
        q, k, v = self.projected(x)
        return attend(q, k, v, mask)[1]


class Linear(_Projected):
    """P = f(q_i) . f(k_j) / sum_j f(q_i) . f(k_j), f(a) = elu(a) + 1: sums over keys first, so time is linear in L."""

    def mix(self, x: Array, mask: Array, groups: Groups = ONE) -> Array:
        """Positions see those of their own group."""
        q, k, v = self.projected(x)
        held = wide(x)
        q, k, v = (a.astype(held) for a in (jax.nn.elu(q) + 1, jax.nn.elu(k) + 1, v))
        k, v = zero_absent(k, mask), zero_absent(v, mask)
        if groups.of is None:
            total, count = jnp.einsum("lhd,lhe->hde", k, v), k.sum(0)
            y, z = jnp.einsum("lhd,hde->lhe", q, total), jnp.einsum("lhd,hd->lh", q, count)
        else:
            of = groups.of, groups.count
            outer = jax.ops.segment_sum(k[..., None] * v[..., None, :], *of, indices_are_sorted=True)
            count = jax.ops.segment_sum(k, *of, indices_are_sorted=True)
            y, z = jnp.einsum("lhd,lhde->lhe", q, outer[groups.of]), jnp.einsum("lhd,lhd->lh", q, count[groups.of])
        return (y / jnp.where(z > 0, z, 1)[..., None]).reshape(x.shape[0], -1).astype(x.dtype)


class LowRank(_Projected):
    """softmax(q (E k)^T / sqrt(d)) E v, E [r, L] learned: r combinations of positions are the keys.

    A position that is not there adds nothing to the combinations, which are all seen.

    Args:
        length: L.
        rank: r.
    """

    def __init__(self, length: int, dim: int, width: int, heads: int, *, rank: int, rngs: nnx.Rngs):
        super().__init__(dim, width, heads, rngs=rngs)
        self.combine = nnx.Param(LECUN_NORMAL(rngs.params(), (length, rank), jnp.float32).T)

    def mix(self, x: Array, mask: Array) -> Array:
        q, k, v = self.projected(zero_absent(x, mask))
        k, v = (jnp.einsum("rl,lhd->rhd", self.combine[...], a) for a in (k, v))
        return attend(q, k, v)[0].reshape(x.shape[0], -1)


class Fourier(nnx.Module):
    """Re(F_L x F_D), F discrete Fourier matrices of positions and features; no parameters, and no mask: 0 counts."""

    def mix(self, x: Array, mask: Array) -> Array:
        x = zero_absent(x, mask)
        return jnp.fft.fft2(x.astype(wide(x))).real.astype(x.dtype)


class MLPMix(nnx.Module):
    """W x with W [L, L] learned, the same for all inputs; or W2 gelu(W1 x), W1 [hidden, L], as in the MLP-Mixer.

    Args:
        length: L.
        hidden: None for one matrix.
    """

    def __init__(self, length: int, *, hidden: int | None = None, rngs: nnx.Rngs):
        first = length if hidden is None else hidden
        self.fc1 = nnx.Linear(length, first, use_bias=False, rngs=rngs)
        self.fc2 = None if hidden is None else nnx.Linear(hidden, length, use_bias=False, rngs=rngs)

    def mix(self, x: Array, mask: Array) -> Array:
        y = self.fc1(zero_absent(x, mask).T)
        return (y if self.fc2 is None else self.fc2(gelu(y))).T


class Convolution(nnx.Module):
    """y_i = sum_t w_t x_(i - t mod L), one kernel w [kernel_size] for all features: P is circulant."""

    def __init__(self, kernel_size: int, *, rngs: nnx.Rngs):
        self.kernel = nnx.Param(LECUN_NORMAL(rngs.params(), (kernel_size, 1), jnp.float32)[:, 0])

    def mix(self, x: Array, mask: Array) -> Array:
        x, kernel = zero_absent(x, mask), self.kernel[...]
        return sum(kernel[t] * jnp.roll(x, t, 0) for t in range(kernel.shape[0]))
