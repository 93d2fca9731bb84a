"""FE-LSD's equations on graphs in NumPy, node by node, in evaluation; p are parameters by path."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from flax import nnx
from scipy.special import erf, expit

from fusion_jax.graphs import Graph
from tests.helpers import filled


def drawn(make: Callable[[], nnx.Module], seed: int = 0) -> tuple[nnx.Module, dict[str, np.ndarray]]:
    """What `make` builds with every number it stores drawn anew, running statistics too, and these by path."""
    rng, p = np.random.default_rng(seed), {}

    def draw(path, shape):
        value = 0.4 * rng.normal(size=shape)
        p[path] = 0.5 + rng.random(shape) if path.endswith(("var", "scale")) else value
        return p[path]

    return filled(make, draw), p


def linear(p, name, x):
    return x @ p[f"{name}.kernel"] + p.get(f"{name}.bias", 0)


def batch_norm(p, name, x):
    normal = (x - p[f"{name}.mean"]) / np.sqrt(p[f"{name}.var"] + 1e-5)
    return normal * p[f"{name}.scale"] + p[f"{name}.bias"]


def layer_norm(p, name, x):
    normal = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return normal * p[f"{name}.scale"] + p[f"{name}.bias"]


def relu(x):
    return np.maximum(x, 0)


def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def heard(x, present, graph: Graph):
    """The mean of the senders that are present, 0 without any."""
    mean = np.zeros_like(x)
    for i in range(len(x)):
        senders = [s for s, r in zip(np.asarray(graph.senders), np.asarray(graph.receivers), strict=True) if r == i]
        rows = [x[s] for s in senders if present[s]]
        mean[i] = np.mean(rows, axis=0) if rows else 0
    return mean


def bottleneck(p, name, z, present, graph):
    h = linear(p, f"{name}.conv1", relu(batch_norm(p, f"{name}.bn1", z)))
    h = relu(batch_norm(p, f"{name}.bn2", h))
    h = linear(p, f"{name}.conv2.own", h) + heard(h, present, graph) @ p[f"{name}.conv2.neighbour.kernel"]
    h = z + linear(p, f"{name}.conv3", relu(batch_norm(p, f"{name}.bn3", h)))
    return np.where(present[:, None], h, 0)


def streams(p, name, x, mask, graph):
    return np.stack([bottleneck(p, f"{name}.groups.{m}", x[:, m], mask[:, m], graph) for m in range(x.shape[1])], 1)


def shallow(p, x, mask, graph):
    """Tokens of `fe_lsd`."""
    x = np.where(mask[..., None], x, 0)
    joint = linear(p, "conv", x.reshape(len(x), -1))
    of, crossed = np.asarray(graph.graph_ids), np.zeros_like(x)
    for i, m in np.argwhere(mask):
        rows = joint[(of == of[i]) & mask.any(1)]
        crossed[i, m] = x[i, m]
        for n in set(np.flatnonzero(mask[i])) - {m}:
            hidden = [relu(t @ p[f"ca.{n}.fc.fc1.kernel"]) for t in (rows.mean(0), rows.max(0))]
            crossed[i, m] += x[i, n] * expit(sum(hidden) @ p[f"ca.{n}.fc.fc2.kernel"])
    return np.where(mask[..., None], x + streams(p, "res", crossed, mask, graph), 0)


def attention(p, name, z, present, graph, parts, heads):
    """To the clusters of a node's graph that have someone present."""
    n, d = z.shape
    members = [[i for i in row if i < n and present[i]] for row in np.asarray(parts.members)]
    held = [c for c, ids in enumerate(members) if ids]
    r = layer_norm(p, f"{name}.norm", linear(p, f"{name}.sr.linear", np.array([z[members[c]].mean(0) for c in held])))
    q, k, v = (
        linear(p, f"{name}.{part}", a).reshape(-1, heads, d // heads)
        for part, a in zip(("query", "key", "value"), (z, r, r), strict=True)
    )
    out, of = np.zeros((n, heads, d // heads)), np.asarray(parts.graph)[held]
    for i in range(n):
        own = of == np.asarray(graph.graph_ids)[i]
        for h in range(heads):
            weights = np.exp(k[own, h] @ q[i, h] / np.sqrt(d // heads))
            out[i, h] = weights @ v[own, h] / max(weights.sum(), 1e-300)
    return linear(p, f"{name}.proj", out.reshape(n, d))


def transformer(p, name, x, mask, graph, parts, heads):
    present, layer = mask.any(1), f"{name}.layer"
    z = layer_norm(p, f"{name}.norm1", linear(p, f"{name}.conv", x.reshape(len(x), -1)))
    z = z + attention(p, f"{layer}.attn", layer_norm(p, f"{layer}.norm1", z), present, graph, parts, heads)
    ffn = f"{layer}.ffn"
    a = batch_norm(p, f"{ffn}.bn1", gelu(linear(p, f"{ffn}.conv1", layer_norm(p, f"{layer}.norm2", z))))
    own = np.where(present[:, None], a, 0) * p[f"{ffn}.conv2.own"]
    mixed = own + p[f"{ffn}.conv2.neighbour"] * heard(a, present, graph) + p[f"{ffn}.conv2.bias"]
    a = a + batch_norm(p, f"{ffn}.bn2", gelu(mixed))
    z = z + batch_norm(p, f"{ffn}.bn3", linear(p, f"{ffn}.conv3", a))
    return np.where(present[:, None], layer_norm(p, f"{name}.norm2", z), 0)


def hourglass(p, x, mask, graph, parts, *, depth, stacks, heads):
    """`out` and tokens of `fe_lsd_hourglass`."""
    x, present = np.where(mask[..., None], x, 0), mask.any(1)
    for s in range(stacks):
        name, inner, skips = f"hourglasses.{s}", x, []
        for i in range(depth):
            skips.append(transformer(p, f"{name}.fuse.{i}", inner, mask, graph, parts, heads))
            inner = streams(p, f"{name}.encode.{i}", inner, mask, graph)
        inner = streams(p, f"{name}.encode.{depth}", inner, mask, graph)
        y = transformer(p, f"{name}.fuse.{depth}", inner, mask, graph, parts, heads)
        for i in reversed(range(depth)):
            y = linear(p, f"{name}.decode.{i}", y) + skips[i]
        y = linear(p, f"merges.{s}.fc", bottleneck(p, f"merges.{s}.res", y, present, graph))
        y = linear(p, f"merges.{s}.conv", relu(batch_norm(p, f"merges.{s}.bn", y)))
        y = np.where(present[:, None], y, 0)
        x = np.where(mask[..., None], x + y[:, None], 0)
    return y, x
