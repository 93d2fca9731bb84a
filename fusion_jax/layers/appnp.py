"""Predict, then propagate: an MLP of each node, then personalised PageRank by power iteration.

Reference: Gasteiger, Bojchevski and Guennemann, "Predict then Propagate: Graph Neural Networks meet Personalized
PageRank", ICLR 2019; code gasteigerjo/ppnp at 8514e4d, `ppnp/pytorch/ppnp.py` and `propagation.py`. Golden `appnp`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.adjacency import convolve
from fusion_jax.nn.alignment import Pair
from fusion_jax.nn.dropout import dropout, split_key
from fusion_jax.nn.presence import reached_by_weight, zero_absent
from fusion_jax.records import EVALUATION, Array, Info


class Appnp(GraphLayer):
    """y = z^K, z^{k+1} = (1 - alpha) D^-1/2 (A + I) D^-1/2 z^k + alpha z^0, z^0 = W_2 relu(W_1 x), without biases.

    Edge weights count where there are any. Who is absent has z^0 = 0 and passes on what it has received (ours).

    Args:
        hidden: width between W_1 and W_2.
        hops: K, at least 1.
        alpha: the share of the own prediction in each round, in [0, 1]; 1 leaves the MLP alone.
        rate: dropout on x and on what W_2 is given.
        edge_rate: dropout on the entries of the normalised matrix, drawn anew in each round.
    Raises:
        ValueError: hidden or hops below 1, alpha outside [0, 1].
    """

    info = Info(
        "Gasteiger et al., Predict then Propagate",
        2019,
        pinned="authors' code",
        golden="appnp",
        cost="O(K E D + N D (hidden + D))",
        needs=("graph",),
    )
    parted = True
    whole_block = True

    def __init__(
        self,
        dim: int,
        out: int | None = None,
        *,
        hidden: int = 64,
        hops: int = 10,
        alpha: float = 0.1,
        rate: float = 0.5,
        edge_rate: float = 0.5,
        rngs: nnx.Rngs,
    ):
        for option, value in (("hidden", hidden), ("hops", hops)):
            if value < 1:
                raise ValueError(f"graph layer 'appnp': {option}={value}, expected at least 1")
        if not 0 <= alpha <= 1:
            raise ValueError(f"graph layer 'appnp': alpha={alpha}, expected a number in [0, 1]")
        he = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # the authors' first layer, and PyTorch's
        self.fc1 = nnx.Linear(dim, hidden, use_bias=False, kernel_init=he, rngs=rngs)
        self.fc2 = nnx.Linear(hidden, dim if out is None else out, use_bias=False, kernel_init=he, rngs=rngs)
        self.hops, self.alpha, self.rate, self.edge_rate = hops, alpha, rate, edge_rate

    def predict(self, x: Array, key: Array | None = None) -> Array:
        """z^0 [N, D'] of the nodes by themselves."""
        first, second = split_key(key, 2)
        return self.fc2(dropout(jax.nn.relu(self.fc1(dropout(x, self.rate, first))), self.rate, second))

    def propagated(self, start: Array, graph: Graph, present: Array | None = None, key: Array | None = None) -> Array:
        """z^K [N, D'] of z^0, 0 where absent."""
        z = start
        for each in split_key(key, self.hops):  # who has received something passes it on in the next hop
            passed = convolve(z, graph, "symmetric", present, rate=self.edge_rate, key=each)
            z = (1 - self.alpha) * passed + self.alpha * start
            present = None if present is None else reached_by_weight(present, graph)
        return z

    def __call__(self, x, graph, present=None, context=EVALUATION):
        own, between = split_key(context.key, 2)
        return self.propagated(self.predict(zero_absent(x, present), own), graph, present, between)

    def reached(self, present, graph):
        for _ in range(self.hops):
            present = reached_by_weight(present, graph)
        return present

    def align(self, anchor, walk, t_in, states):
        x: Pair = tuple(zero_absent(jnp.asarray(a), states.mask) for a in states.x)
        hidden = tuple(net.fc1(a) for net, a in zip((self, anchor), x, strict=True))
        t = walk.neurons([(self.fc1.kernel, anchor.fc1.kernel)], t_in, hidden, states.rows)
        return walk.neurons([(self.fc2.kernel, anchor.fc2.kernel)], t, states.y, states.rows)
