"""What the tests of layers on a partition share: batches of graphs, their parts, attention written densely."""

import jax
import numpy as np
from flax import nnx
from scipy.special import softmax

from fusion_jax.structures.base import derive
from tests.helpers import parameters
from tests.structures import cases

N_NODE = (8, 1, 5)  # of the graphs of a batch
N = sum(N_NODE)
PRESENT = np.arange(N) % 4 != 1


def batch(**options):
    return cases.batch(n_node=N_NODE, **options)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def on(layer, graph):
    """The graph with what the layer declares."""
    return derive([graph], layer.structures)[0]


def record(layer, graph, which=0):
    """A structure of the layer on the host."""
    return cases.host(graph.structure(layer.structures[which]))


def values(layer):
    return {name: np.asarray(variable[...]) for name, variable in parameters(layer).items()}


def heads(x, count):
    """[N, H d] -> [H, N, d]"""
    return x.reshape(len(x), count, -1).swapaxes(0, 1)


def weighted(logits, mask):
    """softmax of logits [H, N, K] where mask [N, K] is true; 0 in a row without."""
    mask = np.broadcast_to(mask, logits.shape)
    some = mask.any(-1, keepdims=True)
    return np.where(mask, softmax(np.where(mask | ~some, logits, -np.inf), -1), 0)


def merged(out):
    """[H, N, d] -> [N, H d]"""
    return out.swapaxes(0, 1).reshape(out.shape[1], -1)


def plain(q, k, v, count, mask, scale=None):
    """Attention of every node to those in its row of mask [N, N]; q, k, v [N, D]."""
    q, k, v = (heads(x, count) for x in (q, k, v))
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return merged(weighted(scale * q @ k.swapaxes(1, 2), mask) @ v)


def same_graph():
    ids = np.repeat(np.arange(len(N_NODE)), N_NODE)
    return ids[:, None] == ids


def dense(attention, nodes=N):
    """[H, N, N] of an attention along edges."""
    weights, seen = np.asarray(attention.weights), np.asarray(attention.valid)[:, 0]
    ends = np.asarray(attention.receivers)[seen], np.asarray(attention.senders)[seen]
    found = np.zeros((weights.shape[1], nodes, nodes))
    np.add.at(found, (slice(None), *ends), weights[seen].T)
    return found


def gradient_text(layer, x, graph):
    """The program of the gradient of all outputs by parameters and x, as it is compiled for this platform."""
    graphdef, state = nnx.split(layer)

    def loss(state, x):
        return (nnx.merge(graphdef, state)(x, graph, PRESENT) ** 2).sum()

    return jax.jit(jax.grad(loss, (0, 1))).lower(state, x).as_text()


def influence(layer, x, graph, present=None):
    """bool [N, N], whether an output (row) changes with an input (column) at all, by the derivatives."""
    jacobian = jax.jit(jax.jacrev(lambda x: layer(x, graph, present)))(x)
    return np.asarray(jacobian != 0).any((1, 3))
