"""The steps of HistoGraph against NumPy, graph by graph."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import softmax

from fusion_jax.graphs import Graph
from fusion_jax.nn.histograph import HistoryAttention, layer_code, signed_weights
from fusion_jax.nn.within_graph import attend_within
from tests.nn.reference import attention, close, derivatives, drawn, layer_norm, linear, normal, random_only_with_a_key

SIZES = np.array([3, 2, 0, 1])
BATCH = Graph.create([0, 1, 1, 3], [1, 0, 2, 4], SIZES)
N, L, DIM = int(SIZES.sum()), 3, 5
HISTORY = normal(N, L, DIM)
ROWS = [np.arange(0, 3), np.arange(3, 5), np.arange(0), np.arange(5, 6)]
ABSENT = dataclasses.replace(BATCH, present=jnp.arange(N) != 1)


def module(width=4, **options):
    usual = dict(heads=2, rate=0.0, form="gated", guard=0.0, over="graph")
    return drawn(HistoryAttention("histograph", DIM, width, **{**usual, **options}, rngs=nnx.Rngs(0)))


@pytest.mark.parametrize("dim", [1, 4, 5])
def test_the_code_of_a_layer(dim):
    code = layer_code(3, dim)
    for l in range(3):
        for d in range(dim):
            angle = l / 10000 ** ((d - d % 2) / dim)
            assert code[l, d] == pytest.approx(np.cos(angle) if d % 2 else np.sin(angle), abs=1e-15)


def test_weights_of_any_sign_sum_to_one_and_a_guard_keeps_them_small():
    c, count = (
        jnp.asarray([[1.0, 2.0], [3.0, -1.0], [0.0, 0.0], [1.0, -1.001], [-1.0, 1.001]]),
        jnp.asarray([3, 1, 0, 2, 2]),
    )
    alpha = np.asarray(signed_weights(c, count))
    close(alpha[:2], np.array([[1 / 3, 2 / 3], [1.5, -0.5]]))
    assert not alpha[2].any()
    close(alpha[3:].sum(1), np.ones(2), 1e-9)
    guarded = np.asarray(signed_weights(c, count, 0.1))
    close(guarded[:3], alpha[:3])
    close(guarded[3:], np.array([[-10, 10.01], [-10, 10.01]]))
    close(signed_weights(jnp.asarray([[0.1, 0.0]]), count[:1], 0.1), np.array([[1.0, 0.0]]))
    close(signed_weights(jnp.asarray([[1.0, -1.0]]), count[:1], 0.5), np.array([[2.0, -2.0]]))


@pytest.mark.parametrize(
    "graph", [BATCH, ABSENT, dataclasses.replace(BATCH, largest=0)], ids=["all", "absent", "matrix"]
)
def test_attention_stays_within_the_graph(graph):
    q, k, v = (normal(N, 2, 3, seed=i) for i in range(3))
    found = np.asarray(attend_within(q, k, v, graph, rate=0.0, key=None))
    for rows in ROWS:
        seen = rows if graph.present is None else rows[np.asarray(graph.present)[rows]]
        for h in range(2) if len(rows) else ():
            logits = np.asarray(q)[rows, h] @ np.asarray(k)[seen, h].T / np.sqrt(3)
            close(found[rows, h], softmax(logits, axis=-1) @ np.asarray(v)[seen, h])


def test_many_small_graphs_in_blocks_and_a_few_in_one_matrix_are_the_same():
    sizes = np.array([2] * 8)
    many = Graph.create(np.arange(16), np.arange(16), sizes)
    q, k, v = (normal(16, 1, 3, seed=i) for i in range(3))
    assert many.num_graphs * many.largest**2 < 16**2 < BATCH.num_graphs * 9 + 256
    blocks, whole = (
        attend_within(q, k, v, g, rate=0.0, key=None) for g in (many, dataclasses.replace(many, largest=0))
    )
    close(blocks, whole)
    uneven = Graph.create([0], [1], np.array([13, 1, 1, 1]))  # 4 blocks of 13 x 13 are more than 16 x 16
    for graph, whole in ((many, False), (uneven, True)):
        run = jax.make_jaxpr(lambda q, graph=graph: attend_within(q, k, v, graph, rate=0.0, key=None))
        assert ("16,16" in str(run(q))) == whole


@pytest.mark.parametrize("over", ["graph", "edges"])
@pytest.mark.parametrize("form", ["gated", "core"])
def test_all_steps_by_hand(form, over):
    made, p = module(form=form, over=over)
    steps = made(HISTORY, BATCH)
    states = linear(p, "emb_hist", HISTORY) + layer_code(L, 4)
    close(steps.states, states)
    q, k = states[:, -1] @ p["W_Q.kernel"], states @ p["W_K.kernel"]
    logits = np.einsum("nd,nld->nl", q, k) / 2
    close(steps.logits, logits)
    for g, rows in enumerate(ROWS):
        if len(rows) == 0:
            assert not np.asarray(steps.c[g]).any() and not np.asarray(steps.alpha[g]).any()
            continue
        c = logits[rows].mean(0)
        close(steps.c[g], c)
        close(steps.alpha[g], c / c.sum())
        summed = np.einsum("l,nld->nd", c / c.sum(), states[rows])
        close(steps.summed[rows], summed, 1e-9)
        mask = None
        if over == "edges":
            mask = np.eye(len(rows), dtype=bool)
            inside = np.isin(BATCH.receivers, rows)
            mask[np.asarray(BATCH.receivers)[inside] - rows[0], np.asarray(BATCH.senders)[inside] - rows[0]] = True
        attended, _ = attention(p, "mhsa.", 2, summed, summed, mask=mask)
        close(steps.attended[rows], attended, 1e-9)
        close(steps.out[rows], attended if form == "core" else layer_norm(p, "ln", attended + summed), 1e-9)


@pytest.mark.parametrize("guard", [0.0, 0.5])
def test_the_weights_of_the_layers_are_shown_of_graphs_that_have_nodes(guard):
    made, _ = module(guard=guard)
    (shown,) = made.shown(made(HISTORY, BATCH), BATCH)
    assert (shown.name, shown.axes, shown.queries, shown.keys) == ("layers", ("graph", "layer"), "graph", "layer")
    np.testing.assert_array_equal(shown.weights, made(HISTORY, BATCH).alpha)
    assert np.asarray(shown.valid)[:, 0].tolist() == [True, True, False, True] and shown.normalised == (guard == 0)


def test_absent_nodes_are_in_no_mean_and_no_attention():
    made, _ = module(over="edges")
    other = HISTORY.at[1].set(9.0)
    for over in ("graph", "edges"):
        made, _ = module(over=over)
        for name, a in made(HISTORY, ABSENT)._asdict().items():
            b = getattr(made(other, ABSENT), name)
            keep = np.arange(N) != 1 if name not in ("c", "alpha") else slice(None)
            np.testing.assert_array_equal(np.asarray(a)[keep], np.asarray(b)[keep])


def test_randomness_and_derivatives():
    for over in ("graph", "edges"):
        made, _ = module(rate=0.3, over=over)
        random_only_with_a_key(lambda key, made=made: made(HISTORY, BATCH, key=key).attended, unbiased=True)
        derivatives(lambda h, made=made: made(h, BATCH).out, HISTORY)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(heads=3), "heads=3 does not divide the width D=4"),
        (dict(form="gate"), r"form='gate' \(did you mean 'gated'\?\); one of \('gated', 'core'\)"),
        (dict(over="nodes"), r"over='nodes'.*one of \('graph', 'edges'\)"),
        (dict(guard=-1.0), r"guard=-1.0, expected 0 \(none\) or a positive number"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=f"readout 'histograph': {message}"):
        module(**options)


def test_it_takes_the_width_it_is_given():
    made, p = module(width=None, heads=1)
    assert p["emb_hist.kernel"].shape == (DIM, DIM) and made(HISTORY, BATCH).out.shape == (N, DIM)
    wide = HistoryAttention(
        "histograph", DIM, 4, heads=1, rate=0.0, form="gated", guard=0.0, over="graph", rngs=nnx.Rngs(0)
    )
    with jax.numpy_dtype_promotion("standard"):
        half = wide(HISTORY.astype(jnp.float16), BATCH)
    assert half.logits.dtype == half.alpha.dtype == jnp.float32
