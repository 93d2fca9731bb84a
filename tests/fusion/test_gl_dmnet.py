"""GL-DMNet's mutual fusion beyond its golden numbers: its forms, scale, batches of graphs, who is missing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.gl_dmnet import GLDMNet, signed_root, unit
from fusion_jax.graphs import Graph
from fusion_jax.nn.stencil import around
from tests.helpers import filled, run

RNG = np.random.default_rng(11)
M, D = 3, 6
ONE, TWO = Graph.create([0, 1, 2, 3], [1, 2, 0, 0], 5), Graph.create([0, 2], [1, 1], 4)


def both() -> Graph:
    """ONE and TWO as a batch of graphs."""
    senders, receivers = (
        [*getattr(ONE, end).tolist(), *(getattr(TWO, end) + 5).tolist()] for end in ("senders", "receivers")
    )
    return Graph.create(senders, receivers, np.array([5, 4]))


def drawn(path, shape):
    value = 0.5 * RNG.normal(size=shape)
    return np.abs(value) + 0.5 if path.endswith("var") else value


def fusion(**options):
    return filled(lambda: GLDMNet(M, D, **options, rngs=nnx.Rngs(0)), drawn)


def inputs(n=9):
    mask = RNG.random((n, M)) < 0.7
    mask[0], mask[1] = True, False
    return np.where(mask[..., None], RNG.normal(size=(n, M, D)), 0), mask


def steps(module, x, mask, graph):
    near = [around(graph, mask[:, m]) for m in range(M)]
    return module.steps(x, mask, graph, near, around(graph, mask.any(1)))


def steps_of(module, x, mask):
    return run(module, x, mask, both(), by=steps)


@pytest.mark.parametrize("options", [{}, dict(over="edges"), dict(norm_over="positions"), dict(form="serial")])
def test_a_graph_of_a_batch_is_what_it_is_alone(options):
    (x, mask), module = inputs(), fusion(**options)
    whole = np.asarray(run(module, x, mask, both()).out)
    np.testing.assert_allclose(whole[:5], run(module, x[:5], mask[:5], ONE).out, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(whole[5:], run(module, x[5:], mask[5:], TWO).out, rtol=1e-10, atol=1e-12)


def test_blocks_and_one_matrix_with_a_mask_are_the_same():
    """Ragged graphs: blocks of the largest would be more numbers than one matrix of all nodes."""
    counts = np.array([6, 1, 1, 1, 1])
    (x, mask), module = inputs(10), fusion()
    ragged, alone = Graph.create([0, 1], [1, 2], counts), Graph.create([0, 1], [1, 2], 6)
    assert len(counts) * counts.max() ** 2 > counts.sum() ** 2
    np.testing.assert_allclose(
        run(module, x, mask, ragged).out[:6], run(module, x[:6], mask[:6], alone).out, rtol=1e-10
    )


def test_affinities_are_at_least_0_and_p_does_not_see_the_scale_of_what_is_fused():
    """Ms grows by the root of a factor on f_S, and n takes it out again."""
    (x, mask), module = inputs(), fusion()
    before = steps_of(module, x, mask)
    assert (np.asarray(before.affinity) >= 0).all() and np.asarray(before.affinity).max() > 0
    module.sp.norm.scale[...] = 4 * module.sp.norm.scale[...]
    module.sp.norm.bias[...] = 4 * module.sp.norm.bias[...]
    after = steps_of(module, x, mask)
    np.testing.assert_allclose(after.f_sp, 4 * before.f_sp, rtol=1e-10)
    np.testing.assert_allclose(after.affinity, 2 * before.affinity, rtol=1e-6)
    np.testing.assert_allclose(after.by_position[:, :M], before.by_position[:, :M], rtol=1e-6, atol=1e-9)


def test_forms_are_their_parts():
    x, mask = inputs()
    parallel = steps_of(fusion(), x, mask)
    np.testing.assert_allclose(parallel.out, parallel.f_pmf + parallel.f_cmf, rtol=1e-12)
    none = steps_of(fusion(form="none"), x, mask)
    np.testing.assert_allclose(none.out, none.f.sum(1), rtol=1e-12)
    assert none.f_pmf is None and none.f_cmf is None
    position, channel, serial = (steps_of(fusion(form=form), x, mask) for form in ("position", "channel", "serial"))
    np.testing.assert_array_equal(position.out, position.f_pmf)
    np.testing.assert_array_equal(channel.out, channel.f_cmf)
    np.testing.assert_array_equal(serial.out, serial.f_cmf)
    assert position.f_cmf is None and channel.f_pmf is None and serial.f_pmf is not None


def test_with_layer_norm_the_spatial_gate_is_no_constant():
    (x, mask), module = inputs(), fusion(norm="layer")
    module.spatial.linear.bias[...] = jnp.full(1, 5.0)  # above the ReLU of the gate at every node
    gate = np.asarray(steps_of(module, x, mask).w_spatial)[mask.any(1)]
    assert np.ptp(gate) > 0


def test_the_serial_form_puts_what_is_found_by_position_into_the_channels():
    x, mask = inputs()
    module = fusion(form="serial")
    before = steps_of(module, x, mask)
    module.pmf.conv3.norm.bias[...] = module.pmf.conv3.norm.bias[...] + 1
    after = steps_of(module, x, mask)
    assert np.abs(np.asarray(after.f_cmf - before.f_cmf)).max() > 1e-3


def test_an_isolated_node_without_anything_changes_nothing():
    (x, mask), module = inputs(), fusion()
    more = Graph.create(ONE.senders, ONE.receivers, 6)
    gone = np.concatenate([mask[:5], np.zeros((1, M), bool)])
    wide = np.concatenate([x[:5], np.full((1, M, D), np.nan)])
    found = np.asarray(run(module, wide, gone, more).out)
    np.testing.assert_allclose(found[:5], run(module, x[:5], mask[:5], ONE).out, rtol=1e-10, atol=1e-12)
    assert not found[5].any()


def test_the_root_and_the_norm_are_finite_at_0_with_their_gradients():
    for dtype in (jnp.float32, jnp.float64):
        zero = jnp.zeros(3, dtype)
        for function in (signed_root, lambda v: unit(v, (v**2).sum(-1, keepdims=True))):
            np.testing.assert_array_equal(function(zero), 0)
            assert np.isfinite(jax.grad(lambda v, f=function: f(v).sum())(zero)).all()
    np.testing.assert_allclose(signed_root(jnp.array([-4.0, 9.0])), [-2, 3], rtol=1e-9)
    np.testing.assert_allclose(jnp.linalg.norm(unit(jnp.array([3.0, 4.0]), jnp.array(25.0))), 1, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(form="both"), "form='both'"),
        (dict(over="graphs"), "over='graphs' .did you mean 'graph'"),
        (dict(norm_over="nodes"), "norm_over='nodes'"),
        (dict(norm="group"), "norm='group'"),
        (dict(reduction=0), "reduction=0"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=f"fusion 'gl_dmnet': {message}"):
        nnx.eval_shape(lambda: GLDMNet(M, D, **options, rngs=nnx.Rngs(0)))
