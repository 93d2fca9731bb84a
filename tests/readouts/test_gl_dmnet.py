"""The cascade transformer readout: its equations step by step, side predictions, batches of graphs, absent rows."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.checking.inputs import planted
from fusion_jax.graphs import Graph
from fusion_jax.nn.neighbour_mean import neighbour_mean
from fusion_jax.readouts.gl_dmnet import GLDMNet, share
from fusion_jax.run.model import train_model
from fusion_jax.training.prepare import prepare
from tests import tiny
from tests.helpers import parameters, to_float64

RNG = np.random.default_rng(2)
D, L, C = 8, 3, 4
GRAPH = Graph.create([0, 1, 2, 3, 5], [1, 2, 0, 0, 6], np.array([5, 3]))


def readout(layers=L, **options):
    module = to_float64(GLDMNet(D, layers, outputs=C, **options, rngs=nnx.Rngs(0)))
    for path, variable in parameters(module).items():
        value = 0.5 * RNG.normal(size=variable.shape)
        variable.set_value(jnp.asarray(np.abs(value) + 0.5 if path.endswith("var") else value))
    return module


def history(rows=8, layers=L):
    return jnp.asarray(RNG.normal(size=(rows, layers, D)))


def conv(block, x, wide):
    seen = x if not wide else jnp.concatenate([x, neighbour_mean(x, GRAPH)], axis=-1)
    return jax.nn.relu(block.norm(seen @ block.linear.kernel[...] + block.linear.bias[...]))


def both(module, x):
    return conv(module.conv3, conv(module.conv1, x, False), True)


def trans(module, t):
    """Every node of a graph attends to all of it."""
    out = []
    for start, stop in ((0, 5), (5, 8)):
        one = t[start:stop]
        one = one + module.attn(module.norm1(one))[0]
        out.append(one + module.mlp(module.norm2(one)))
    return jnp.concatenate(out)


def test_the_levels_are_rebuilt_from_the_last_to_the_first():
    module, x = readout(), history()
    t = [both(module.join[i], jnp.concatenate([trans(module.trans[i], x[:, i]), x[:, i]], axis=1)) for i in range(L)]
    o = both(module.build[2], t[2])
    ends = [conv(module.last[2], o, True)]
    for i in (1, 0):
        z = jnp.concatenate(t[i + 1 :], axis=1)
        pooled = jnp.concatenate([jnp.broadcast_to(z[a:b].mean(0), z[a:b].shape) for a, b in ((0, 5), (5, 8))])
        a = both(module.gate[i], z * jax.nn.sigmoid(module.ca[i](pooled)))
        o = both(module.build[i], jnp.concatenate([a * t[i] + t[i], o], axis=1))
        ends.append(conv(module.last[i], o, True))
    found = module(x, GRAPH)
    np.testing.assert_allclose(found.out, ends[-1], rtol=1e-10, atol=1e-12)
    for head, linear, end in zip(found.heads, module.heads, ends[-2::-1], strict=True):
        np.testing.assert_allclose(head.values, linear(end), rtol=1e-10)
    assert [head.name for head in found.heads] == ["level 2", "level 3"]
    np.testing.assert_allclose([head.weight for head in found.heads], [0.75, 0.5])
    np.testing.assert_allclose([share(i) for i in range(6)], [1, 0.75, 0.5, 0.25, 0.25, 0.25])


def test_one_state_is_read_without_a_cascade():
    module, x = readout(1), history(layers=1)
    t = both(module.join[0], jnp.concatenate([trans(module.trans[0], x[:, 0]), x[:, 0]], axis=1))
    found = module(x, GRAPH)
    np.testing.assert_allclose(found.out, conv(module.last[0], both(module.build[0], t), True), rtol=1e-10)
    assert found.heads == ()


@pytest.mark.parametrize("over", ["graph", "edges"])
def test_rows_that_stand_for_no_node_have_no_influence(over):
    module, x = readout(over=over), history()
    present = jnp.asarray(np.array([1, 1, 1, 1, 0, 1, 1, 0], bool))
    some = dataclasses.replace(GRAPH, present=present, looped=dataclasses.replace(GRAPH.looped, present=present))
    one = module(x, some).out
    other = module(jnp.where(present[:, None, None], x, jnp.nan), some).out
    np.testing.assert_array_equal(one, other)
    assert not np.asarray(one)[~np.asarray(present)].any()


def test_it_trains_with_its_side_predictions():
    with tiny.as_users_run():
        changes = {"model.readout.name": "gl_dmnet", "model.readout.options": dict(heads=2), "model.layers": 2}
        data, plan = planted({**changes, "model.layer.name": "gcn", "training.epochs": 3, "training.chunk": 3})
        trained = train_model(plan, data, prepare(plan.data, data, (0,), **plan.preparing))
    assert np.isfinite(trained.prediction).all() and np.isfinite(trained.history["train_loss"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(over="nodes"), "over='nodes'"),
        (dict(norm="group"), "norm='group'"),
        (dict(heads=3), "heads=3"),
        (dict(reduction=0), "reduction=0"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=f"readout 'gl_dmnet': .*{message}"):
        GLDMNet(D, L, outputs=C, **options, rngs=nnx.Rngs(0))
