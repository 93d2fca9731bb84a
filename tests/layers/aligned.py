"""A layer whose neurons stand in another order, and the alignment that is to undo it."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.merging.ot_fusion.rules import Rules
from fusion_jax.merging.ot_fusion.walk import Walk
from fusion_jax.nn.alignment import States
from tests.helpers import parameters


def check_undone(anchor, permuted, x, graph, present=None):
    """`permuted` computes the anchor's outputs in another order; aligned, it has the anchor's parameters.

    Whatever stands in the rows of who is not `present`, bool [N] (None: all are).
    """
    rows = np.ones(len(x), bool) if present is None else present
    x = np.where(rows[:, None], x, np.nan)
    y, other = (np.asarray(net(x, graph, present)) for net in (anchor, permuted))
    np.testing.assert_allclose(np.sort(other, 1), np.sort(y, 1), rtol=1e-9, atol=1e-12)
    assert not np.allclose(other, y)
    aligned = nnx.clone(permuted)
    states = States(x=(x, x), y=(other, y), mask=present, rows=rows, graph=graph)
    t = aligned.align(anchor, Walk(Rules(solver="emd", heads="blocks"), None, rows, 200, 0), np.eye(x.shape[1]), states)
    np.testing.assert_allclose(other @ t, y, rtol=1e-6, atol=1e-6)
    wanted, moved = parameters(anchor), parameters(permuted)
    for name, value in parameters(aligned).items():
        np.testing.assert_allclose(value[...], wanted[name][...], rtol=1e-6, atol=1e-6, err_msg=name)
        if value.ndim:
            assert not np.allclose(moved[name][...], wanted[name][...]), name


def reorder(module, **axes):
    """The module with parameters, by dotted path with __ for dots, taken in other orders: [(order, axis), ...]."""
    changed, own = nnx.clone(module), parameters(module)
    for name, orders in axes.items():
        path = name.replace("__", ".")
        value = own[path][...]
        for order, axis in orders:
            value = jnp.take(value, order, axis)
        parameters(changed)[path].set_value(value)
    return changed


def told(anchor, x, graph) -> list:
    """(y, heads) of every set of neurons that aligning the anchor with itself asks for a map of."""
    asked = []

    class Asked(Walk):
        def neurons(self, kernels, t_in, y, rows, heads=1):
            asked.append((np.asarray(y[1]), heads))
            return np.eye(y[1].shape[1])

    rows = np.ones(len(x), bool)
    y = np.asarray(anchor(x, graph))
    states = States(x=(x, x), y=(y, y), mask=None, rows=rows, graph=graph)
    nnx.clone(anchor).align(anchor, Asked(Rules(), None, rows, 200, 0), np.eye(x.shape[1]), states)
    return asked
