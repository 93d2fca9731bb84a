"""Crossmodal transformers: which pairs meet, why there are tokens, what a missing modality leaves."""

import jax
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.mult import MulT, positions
from fusion_jax.records import Context
from tests.helpers import to_float64

SMALL = dict(width=4, heads=2, layers=1, memory_layers=1)


def build(m=3, d=8, **options):
    return to_float64(MulT(m, d, rngs=nnx.Rngs(0), **(SMALL | options)))


def inputs(m=3, d=8):
    return np.random.default_rng(0).normal(size=(m, d)), np.ones(m, bool)


def test_every_ordered_pair_and_no_other():
    """Moving modality k moves exactly the sequences that have it as target or source."""
    x, mask = inputs(m=4)
    model = build(m=4)
    cross = jax.jit(model.crossmodal)
    base = np.asarray(cross(x, mask))
    assert base.shape == (4, 3, 4, 4)
    for k in range(4):
        moved = x.copy()
        moved[k] *= -1
        changed = np.abs(np.asarray(cross(moved, mask)) - base).max(axis=(2, 3)) > 1e-9
        for t in range(4):
            for i, s in enumerate(s for s in range(4) if s != t):
                assert changed[t, i] == (k in (t, s)), (k, t, s)


@pytest.mark.parametrize("tokens", [1, 4])
def test_one_token_is_degenerate(tokens):
    """With T = 1 no query or key weight is trained, whatever the data; with T = 4 all are."""
    x, mask = inputs()
    graphdef, params, rest = nnx.split(build(tokens=tokens), nnx.Param, ...)

    def loss(p):
        return (nnx.merge(graphdef, p, rest).crossmodal(x, mask) ** 3).sum()

    attention = jax.jit(jax.grad(loss))(params)["cross"]["layers"]["self_attn"]
    assert np.abs(attention["value"]["kernel"][...]).max() > 1e-3
    for name in ("query", "key"):
        largest = np.abs(attention[name]["kernel"][...]).max(axis=(1, 2, 3))  # one a pair
        assert (largest < 1e-12).all() if tokens == 1 else (largest > 1e-6).all()


def test_missing_source_leaves_the_residual_path():
    """C_ts without s equals C_ts with all of s there, its attention multiplied by 0 on the way out."""
    x, mask = inputs()
    model = build()
    mask[2] = False
    missing = np.asarray(model.crossmodal(x, mask))
    out = model.cross.layers.self_attn.out
    out.kernel.set_value(out.kernel[...] * 0)
    plain = np.asarray(model.crossmodal(x, np.ones(3, bool)))
    np.testing.assert_allclose(missing[0, 1], plain[0, 1], rtol=1e-12)
    np.testing.assert_allclose(missing[1, 1], plain[1, 1], rtol=1e-12)
    assert np.abs(missing[0, 0] - plain[0, 0]).max() > 1e-3


def test_missing_target_has_no_summary():
    x, mask = inputs()
    mask[1] = False
    u = np.asarray(build().summary(x, mask)).reshape(3, -1)
    assert not u[1].any() and u[0].any() and u[2].any()


def test_one_modality_attends_to_itself():
    """M = 1 equals the sequence that t makes with a copy of itself as source."""
    x, mask = inputs(m=1)
    single, pair = build(m=1), build(m=2)

    def first(new, a):
        return new.set_value(a[...][:1])

    for part in ("cross", "project"):
        new, old = (nnx.state(getattr(m, part)) for m in (single, pair))
        jax.tree.map(first, new, old, is_leaf=lambda v: isinstance(v, nnx.Variable))
        nnx.update(getattr(single, part), new)
    pair.project.kernel.set_value(np.repeat(pair.project.kernel[...][:1], 2, axis=0))
    got = single.crossmodal(x, mask)
    expected = pair.crossmodal(np.repeat(x, 2, axis=0), np.ones(2, bool))
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_causal_tokens_see_no_later_one(causal):
    """Changing the last token of all modalities moves earlier ones only where attention is not causal."""
    x, mask = inputs()
    model = build(causal=causal)
    moved = x.reshape(3, 4, 2).copy()
    moved[:, -1] += 1
    a, b = (np.asarray(model.remember(model.crossmodal(v, mask), mask)) for v in (x, moved.reshape(3, 8)))
    assert np.abs(a - b)[:, -1].max() > 1e-3
    assert (np.abs(a - b)[:, :-1].max() < 1e-12) == causal


def test_positions():
    """sin(p r_i), cos(p r_i) of p = 1..T, r from 1 down to 1 / 10000, a 0 at the end of an odd width."""
    table = positions(3, 7)
    rates = [1, 1e-2, 1e-4]
    for p in (1, 2, 3):
        expected = [np.sin(p * r) for r in rates] + [np.cos(p * r) for r in rates] + [0]
        np.testing.assert_allclose(table[p - 1], expected, rtol=1e-12)


def test_refusals():
    for option, value in (("tokens", 3), ("heads", 3), ("width", 2)):
        with pytest.raises(ValueError, match=f"mult.*{option}={value}"):
            build(**{option: value})


def test_dropout_needs_a_key():
    x, mask = inputs()
    model = build(m=2)
    args = x[None, :2], mask[None, :2]
    np.testing.assert_array_equal(model(*args).out, model(*args).out)
    first, second = (model(*args, context=Context(key=jax.random.key(i))).out for i in (0, 1))
    assert np.abs(first - second).max() > 1e-3
