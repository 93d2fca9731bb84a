"""The two planes of one modality: its nodes (an image's feature map) and the parts they are in (its cost map).

A plane of pixels in their place has the same methods, with bilinear resizing and the nine neighbours of a 3 x 3 kernel.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from fusion_jax.graphs import Graph
from fusion_jax.nn.neighbour_mean import neighbour_mean
from fusion_jax.records import Array

TAPS = 2  # what a convolution reads on a graph: the place itself, the mean over its neighbours


@jax.custom_vjp
def take(x: Array, index: Array, back: Array) -> Array:
    """y_i = x[index_i], 0 where that is len(x), for an index that names no row twice; x [L, ...] -> [len(index), ...].

    Args:
        back: int [L], where each row of x went, len(index) where nowhere: the gradient is a `take` too, no scatter.
    """
    there = (index < len(x)).reshape(-1, *[1] * (x.ndim - 1))
    return jnp.where(there, x[jnp.minimum(index, len(x) - 1)], jnp.zeros((), x.dtype))


def _take_forward(x, index, back):
    return take(x, index, back), (index, back)


def _take_backward(held, g):
    index, back = held
    return take(g, back, index), None, None


take.defvjp(_take_forward, _take_backward)


def correlation(a: Array, b: Array) -> Array:
    """<a_p / (|a_p| + 1e-5), b_q / (|b_q| + 1e-5)>; a [..., P, D], b [..., Q, D] -> [..., P, Q]."""
    return jnp.einsum("...pd,...qd->...pq", _direction(a), _direction(b))


def _direction(a: Array) -> Array:
    square = (a**2).sum(-1, keepdims=True)
    norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    return a / (norm + 1e-5)


@dataclasses.dataclass(frozen=True)
class Plane:
    """One modality on a graph whose nodes are in parts; P parts in each of G graphs, B places in a part.

    Attributes:
        graph: whose edges say which nodes are neighbours.
        mask: bool [N], who has the modality. Others are in no sum, no mean and nobody's neighbour.
        members: int [G, P, B], node ids, N where there is none.
        place: int [N], where a node stands in `members`, counted row by row; its size where nowhere.
        adjacent: bool [G, P, P], which parts are neighbours.
    """

    graph: Graph
    mask: Array
    members: Array
    place: Array
    adjacent: Array

    @classmethod
    def of(cls, mask: Array, graph: Graph, parts, joined) -> Plane:
        """With the records of the structures "partition" and "quotient"."""
        graphs, slots = joined.counts.shape[:2]
        room = parts.members.shape[1]
        place = jnp.where(parts.part < len(parts.members), parts.part * room + parts.local, graphs * slots * room)
        return cls(graph, mask, parts.members.reshape(graphs, slots, room), place, joined.adjacent)

    @property
    def here(self) -> Array:
        """bool [G, P, B], the places of nodes that have the modality."""
        ids = jnp.minimum(self.members, len(self.mask) - 1)
        return (self.members < len(self.mask)) & self.mask[ids]

    @property
    def there(self) -> Array:
        """bool [G, P], the parts with such a node."""
        return self.here.any(-1)

    def taps(self, dtype) -> Array:
        """[G, TAPS, P, P], what a convolution reads: each part itself, the mean over its neighbours."""
        seen = (self.adjacent & self.there[:, None]).astype(dtype)
        mean = seen / jnp.maximum(seen.sum(-1, keepdims=True), 1)
        return jnp.stack([jnp.broadcast_to(jnp.eye(mean.shape[-1], dtype=dtype), mean.shape), mean], 1)

    def neighbours(self, x: Array) -> Array:
        """x [N, F] -> [TAPS, N, F], what a convolution over the nodes reads."""
        return jnp.stack([x, neighbour_mean(x, self.graph, self.mask)])

    def _placed(self, x: Array) -> Array:  # [N, ...] -> [G, P, B, ...]
        y = take(x, self.members.reshape(-1), self.place).reshape(*self.members.shape, *x.shape[1:])
        return jnp.where(self.here.reshape(*self.here.shape, *[1] * (x.ndim - 1)), y, 0)

    def gather(self, x: Array) -> Array:
        """x [N, ...] -> [G, L, ...], the nodes of each graph side by side; 0 where one lacks the modality."""
        return self._placed(x).reshape(len(self.members), -1, *x.shape[1:])

    def scatter(self, y: Array) -> Array:
        """y [G, L, ...] -> [N, ...], what `gather` put there back at its node."""
        return take(y.reshape(-1, *y.shape[2:]), self.place, self.members.reshape(-1))

    def summed(self, x: Array) -> Array:
        """x [N, ...] -> [G, P, ...], the sum over each part, which is the transpose of `up`."""
        return self._placed(x).sum(2)

    def down(self, x: Array) -> Array:
        """x [N, ...] -> [G, P, ...], resized to the parts: the mean over each; 0 over a part without nodes."""
        count = jnp.maximum(self.here.sum(-1), 1).astype(x.dtype)
        return self.summed(x) / count.reshape(*count.shape, *[1] * (x.ndim - 1))

    def pool(self, x: Array) -> Array:
        """x [N, ...] -> [G, P, ...], the mean over each part (on a grid another thing than `down`)."""
        return self.down(x)

    def up(self, y: Array) -> Array:
        """y [G, P, ...] -> [N, ...], resized to the nodes: each has what its part has."""
        shape = (*self.members.shape, *y.shape[2:])
        return self.scatter(jnp.broadcast_to(y[:, :, None], shape).reshape(len(y), -1, *y.shape[2:]))

    def repeat(self, y: Array) -> Array:
        """y [G, P, ...] -> [N, ...], each has what its part has (on a grid another thing than `up`)."""
        return self.up(y)

    def position(self, p: Array) -> Array:
        """p [P, d] -> [N, d], the learned vector of each node's part."""
        return self.up(jnp.broadcast_to(p, (len(self.members), *p.shape)))

    def similarity(self, target: Plane, conv, a: Array, b: Array) -> Array:
        """conv of the correlation of the part means; a, b [N, D] of this and of the target -> [G, P, Q, H]."""
        return conv(correlation(self.pool(a), target.pool(b))[..., None], self, target)
