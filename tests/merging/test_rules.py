"""The rules of OT-Fusion that golden cases cannot show: limits, marginals, widths, heads, bad options."""

import sys

import numpy as np
import pytest

from fusion_jax.merging.ot_fusion.rules import (
    Rules,
    ground_cost,
    head_map,
    head_order,
    mapped,
    sinkhorn,
    standardise,
    transport,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def layer(rng, i, o):
    return {"kernel": rng.normal(size=(i, o)), "bias": rng.normal(size=o)}


def test_standardise_divides_by_the_sample_deviation_and_survives_a_dead_neuron(rng):
    a = rng.normal(2, 3, (11, 4))
    a[:, 2] = 7
    s = standardise(a)
    np.testing.assert_allclose(s.std(0, ddof=1), [1, 1, 0, 1], atol=1e-8)
    assert (standardise(a[:1]) == 0).all()


@pytest.mark.parametrize("solver,reg", [("emd", 1.0), ("sinkhorn", 0.08), ("sinkhorn", 0.01)])
@pytest.mark.parametrize("n0,n1", [(6, 6), (4, 7)])
def test_rows_of_a_map_sum_to_one_and_columns_to_the_ratio_of_widths(rng, solver, reg, n0, n1):
    t = transport(ground_cost(rng.normal(size=(n0, 5)), rng.normal(size=(n1, 5))), solver, reg)
    assert t.shape == (n0, n1) and (t >= 0).all()
    np.testing.assert_allclose(t.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(t.sum(0), n0 / n1, atol=1e-6)


def test_log_space_sinkhorn_is_pots_where_both_exist_and_emd_where_the_weight_is_small(rng):
    cost = ground_cost(rng.normal(size=(5, 3)), rng.normal(size=(5, 3)))
    np.testing.assert_allclose(5 * sinkhorn(cost, 0.1), transport(cost, "sinkhorn", 0.1), atol=1e-6)
    np.testing.assert_allclose(transport(cost, "sinkhorn", 2e-4), transport(cost, "emd", 1.0), atol=1e-3)


def test_equal_neurons_have_cost_zero_not_nan():
    assert (ground_cost(np.ones((2, 3)), np.ones((2, 3))) == 0).all()


@pytest.mark.parametrize("cost", ["acts", "wts"])
@pytest.mark.parametrize("qk", ["separate", "eq_t_map", "joint"])
def test_an_attention_block_fused_with_its_permuted_self_returns_the_anchor(rng, cost, qk):
    n, s = 6, 40
    block1 = {k: layer(rng, n, n) for k in "qkvo"}
    p_in, p_qk, p_v, p_o = (np.eye(n)[:, rng.permutation(n)] for _ in range(4))
    outs, t_ins = dict(q=p_qk, k=p_qk, v=p_v, o=p_o), dict(q=p_in, k=p_in, v=p_in, o=p_v)
    # undo a permutation by its transpose: block 0 is block 1 in other coordinates
    block0 = {k: mapped(block1[k], t_ins[k].T, outs[k].T) for k in "qkvo"}
    acts1 = {k: standardise(rng.normal(size=(s, n))) for k in "qkvo"}
    acts = {k: (a @ outs[k].T, a) for k, a in acts1.items()}
    aligned, t = Rules(cost=cost, solver="emd", qk=qk).attention(block0, block1, p_in, acts)
    for k in "qkvo":
        for name, value in block1[k].items():
            np.testing.assert_allclose(aligned[k][name], value, atol=1e-12, err_msg=f"{k}.{name}")
    np.testing.assert_allclose(t, p_o)


def test_blocks_find_permuted_heads_that_reference_mode_may_mix(rng):
    heads, d, s = 3, 2, 30
    order = np.array([2, 0, 1])
    a1 = standardise(rng.normal(size=(s, heads * d)))
    a0 = np.concatenate([a1.reshape(s, heads, d)[:, j, ::-1] for j in order], axis=1)
    cost = ground_cost(a0.T, a1.T)
    found = head_order([cost], heads, "emd", 1.0)
    np.testing.assert_array_equal(found, order)
    np.testing.assert_allclose(a0 @ head_map(cost, found, "emd", 1.0), a1)
    # a soft map of the reference puts mass across heads; of blocks it never does
    soft = Rules(heads="blocks").map((None, None), (a0, a1), heads).reshape(heads, d, heads, d)
    across = [(i, j) for i in range(heads) for j in range(heads) if order[i] != j]
    assert max(soft[i, :, j].max() for i, j in across) == 0
    mixed = Rules().map((None, None), (a0, a1), heads).reshape(heads, d, heads, d)
    assert max(mixed[i, :, j].max() for i, j in across) > 0


def test_residual_rules(rng):
    res, new = rng.random((3, 3)), rng.random((3, 3))
    big, small = np.full((5, 3), 3.0), np.full((5, 3), -1.0)

    def join(rule):
        return Rules(residual=rule).join(res, new, big, small)

    np.testing.assert_array_equal(join("no_resid"), new)
    np.testing.assert_array_equal(join("only_resid"), res)
    np.testing.assert_allclose(join("mean"), (res + new) / 2)
    for rule in ("weighted_scalar", "weighted_matrix"):
        np.testing.assert_allclose(join(rule), 0.75 * res + 0.25 * new)


def test_bad_options_are_named():
    with pytest.raises(ValueError, match=r"solver='sinkhorm' \(did you mean 'sinkhorn'"):
        Rules(solver="sinkhorm")
    with pytest.raises(ValueError, match="reg=0"):
        Rules(reg=0)


def test_without_pot_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match=r"fusion_jax\[merging\]"):
        transport(np.eye(3), "emd", 1.0)
