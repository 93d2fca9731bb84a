"""What the tests of `nn` share: an awkward edge set, plain NumPy definitions, and what dropout has to do."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads
from scipy.special import softmax

from fusion_jax.graphs import Graph
from fusion_jax.nn import dropout
from tests.helpers import parameters, to_float64

N = 6
# Directed; 0 -> 2 is there twice, 1 has a loop, 2 hears of 0 alone, 4 receives one edge, 5 neither sends nor receives.
SENDERS, RECEIVERS = np.array([0, 0, 1, 3, 4, 2, 1, 0]), np.array([2, 2, 1, 0, 3, 3, 0, 4])
WEIGHT = np.array([0.5, 2.0, 1.5, 0.25, 3.0, 0.75, 1.0, 0.0])


def graph(weighted: bool = True, **changes) -> Graph:
    return Graph.create(SENDERS, RECEIVERS, N, {"weight": WEIGHT} if weighted else {}, **changes)


def matrix(graph: Graph, weight=None) -> np.ndarray:
    """A[receiver, sender], the sum of the weights of the edges between the two (1 each if None)."""
    a = np.zeros((graph.num_nodes, graph.num_nodes))
    np.add.at(a, (np.asarray(graph.receivers), np.asarray(graph.senders)), 1 if weight is None else np.asarray(weight))
    return a


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def drawn(module):
    """The module in float64 with every parameter drawn anew, none of them 0 or 1, and these by name."""
    rng, module = np.random.default_rng(7), to_float64(module)
    for variable in parameters(module).values():
        variable.set_value(jnp.asarray(0.7 * rng.normal(size=variable.shape)))
    return module, {name: np.asarray(variable[...]) for name, variable in parameters(module).items()}


def linear(p: dict, name: str, x) -> np.ndarray:
    return np.asarray(x) @ p[f"{name}.kernel"] + p.get(f"{name}.bias", 0)


def layer_norm(p: dict, name: str, x) -> np.ndarray:
    x = np.asarray(x)
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * p[f"{name}.scale"] + p[
        f"{name}.bias"
    ]


def heads(x, h: int) -> np.ndarray:
    """[L, h * d] -> [h, L, d]"""
    return np.moveaxis(np.asarray(x).reshape(len(x), h, -1), 1, 0)


def attention(p: dict, name: str, h: int, query, keys, values=None, mask=None) -> tuple[np.ndarray, np.ndarray]:
    """Multi-head attention of [T, .] to [L, .] with its projections: out [T, .], weights [h, T, L]."""
    values = keys if values is None else values
    parts = (("query", query), ("key", keys), ("value", values))
    q, k, v = (heads(linear(p, f"{name}{part}", x), h) for part, x in parts)
    logits = q @ np.swapaxes(k, 1, 2) / np.sqrt(q.shape[-1])
    weights = softmax(logits if mask is None else np.where(mask, logits, -np.inf), axis=-1)
    return linear(p, f"{name}out", np.concatenate(list(weights @ v), axis=-1)), weights


def close(found, expected, tol: float = 1e-12) -> None:
    assert np.shape(found) == np.shape(expected)
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=tol, atol=tol)


def derivatives(f, *args) -> None:
    """The derivatives of f against central differences, in float64."""
    check_grads(jax.jit(f), args, order=1, modes=("rev",), rtol=1e-6, atol=1e-6)


def random_only_with_a_key(run, *, unbiased: bool, draws: int = 600) -> None:
    """`run(key)`: the same at every call without a key and with the same one, other numbers with another one.

    Args:
        unbiased: whether the mean over keys is the value without a key (what dropout stands before is linear).
    """
    still = np.asarray(run(None))
    np.testing.assert_array_equal(run(None), still)
    many = np.asarray(jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), draws)))
    close(many[3], jax.jit(run)(jax.random.split(jax.random.key(0), draws)[3]))
    spread = many.std(0)
    assert (spread > 0).any() and not np.array_equal(many[0], many[1])
    if unbiased:
        assert (np.abs(many.mean(0) - still) <= 5 * spread / np.sqrt(draws) + 1e-12).all()


def dropped(monkeypatch, run, *args) -> list[tuple[tuple[int, ...], float]]:
    """(shape, rate) of what `run(key, *args)` drops, in order; no key is drawn from or split twice.

    Nothing is computed. A loop over layers is traced once, and so are its places.
    """
    places, used, keep, split = [], [], dropout.keep_mask, jax.random.split

    def keep_mask(key, rate, shape):
        places.append((tuple(shape), rate))
        used.append(key)
        return keep(key, rate, shape)

    def splitting(key, *more):
        used.append(key)
        return split(key, *more)

    with monkeypatch.context() as patched:
        patched.setattr(dropout, "keep_mask", keep_mask)
        patched.setattr(jax.random, "split", splitting)
        jax.eval_shape(lambda key, *args: jax.tree.leaves(run(key, *args)), jax.random.key(0), *args)
    assert len({id(key) for key in used}) == len(used), "a key is used twice"
    return places
