"""CSA re-ranking: what the golden case cannot show."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import tasks, zoo
from fusion_jax.checking.inputs import planted
from fusion_jax.fusion.csa_rerank import CSARerank, lists
from fusion_jax.fusion.csa_rerank.lists import Lists, affinity, candidates_and_anchors
from fusion_jax.fusion.csa_rerank.reranker import Block, Reranker, contrastive, drop_path, similarities
from fusion_jax.graphs import Graph
from fusion_jax.records import Context, Target
from fusion_jax.run.model import train_model
from fusion_jax.training.prepare import prepare
from tests import tiny
from tests.helpers import drawn, run, state
from tests.nn.reference import dropped

N, M, D, C = 9, 2, 4, 3
SIZES = np.array([6, 3])  # of two graphs
K, A = 3, 3
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
TRAIN = np.array([1, 0, 1, 1, 1, 0, 1, 0, 1], bool)
# an edge twice, a loop, a node with more senders than candidates, and one to a node without any modality
SENDERS = np.array([1, 1, 2, 3, 4, 5, 0, 0, 5, 1, 7])
RECEIVERS = np.array([0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 6])


def graph_of(sizes=SIZES, senders=SENDERS, receivers=RECEIVERS, present=None):
    made = Graph.create(senders, receivers, sizes)
    return made if present is None else dataclasses.replace(made, present=jnp.asarray(present))


def inputs(seed=0):
    return np.random.default_rng(seed).normal(size=(N, M, D))


def masks():
    mask = np.ones((N, M), bool)
    mask[3, 0] = mask[5, 1] = mask[4] = False
    return mask


def context(labels=LABELS, train=TRAIN, key=None, kind="classes"):
    fields = dict(labels=jnp.asarray(labels)) if kind == "classes" else dict(values=jnp.ones((len(labels), 1)))
    target = Target(kind, **fields, num_outputs=C if kind == "classes" else 1)
    train = jnp.asarray(train)
    return Context(key=key, target=tasks.of(target).hide_unseen(target, train), train=train)


def made(**options):
    return CSARerank(M, D, outputs=C, **{"candidates": K, "anchors": A, "heads": 2, **options}, rngs=nnx.Rngs(0))


def fusion(**options):
    return drawn(lambda: made(**options))


def units(x, mask):
    return np.where(mask[..., None], x / np.linalg.norm(x, axis=-1, keepdims=True), 0)


def nearness(u, mask):
    """[N, N]: the mean of cosines over shared modalities, NaN without any."""
    both = (mask[:, None] & mask[None]).sum(-1)
    return np.where(both > 0, np.einsum("imd,jmd->ij", u, u) / np.maximum(both, 1), np.nan)


def by_hand(u, mask, train, sizes, edges):
    """Candidates and anchors of every node, as lists of ids."""
    near, of = nearness(u, mask), np.repeat(np.arange(len(sizes)), sizes)
    found = []
    for v in range(len(u)):
        if not mask[v].any():
            found.append(([], []))
            continue
        ranked = [j for j in np.argsort(-near[v], kind="stable") if j != v and of[j] == of[v]]
        ranked = [j for j in ranked if not np.isnan(near[v, j])]
        sent = {s for s, r in zip(SENDERS, RECEIVERS, strict=True) if r == v and s != v and mask[s].any()}
        first = sorted(sent, key=lambda s: -np.nan_to_num(near[v, s], nan=-2.0)) if edges else []
        candidates = (first[:K] + [j for j in ranked if j not in first])[:K]
        found.append(([v, *candidates], [v, *[j for j in ranked if train[j]][: A - 1]]))
    return found


@pytest.mark.parametrize("block", [256, 2])
@pytest.mark.parametrize("edges", [True, False])
def test_lists_and_anchors_are_the_nearest_of_a_nodes_graph(monkeypatch, block, edges):
    """Neighbours first, once each; anchors are training nodes; whatever is held at a time."""
    monkeypatch.setattr(lists, "BLOCK", block)
    mask = masks()
    u, train = units(inputs(), mask), TRAIN & mask.any(1)
    pair = candidates_and_anchors(jnp.asarray(u), jnp.asarray(mask), jnp.asarray(train), graph_of(), K, A, edges)
    for v, wanted in enumerate(by_hand(u, mask, train, SIZES, edges)):
        for part, ids in zip(pair, wanted, strict=True):
            np.testing.assert_array_equal(np.asarray(part.rows[v])[np.asarray(part.valid[v])], ids)
    assert [part.rows.shape for part in pair] == [(N, K + 1), (N, A)]


def test_affinity_is_the_mean_over_the_modalities_that_both_have():
    mask = masks()
    mask[0, 1] = False
    u = units(inputs(), mask)
    rows = np.array([[0, 3, 1, 2], [2, 0, 5, 6]])
    valid = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], bool)
    items, anchors = Lists(rows, valid), Lists(rows[:, :3], valid[:, :3] & np.array([[1, 1, 1], [1, 1, 0]], bool))
    wanted = np.nan_to_num(nearness(u, mask))
    wanted = np.stack([wanted[np.ix_(row, row[:3])] for row in rows])
    wanted = np.where(valid[:, :, None] & np.asarray(anchors.valid)[:, None], wanted, 0)
    np.testing.assert_allclose(affinity(jnp.asarray(u), jnp.asarray(mask), items, anchors), wanted, atol=1e-12)
    assert wanted[0, 0, 1] == 0 and wanted[0, 2, 1] != 0  # 0 has the one modality, 3 the other


def test_anchors_join_a_list_once():
    mask = np.ones((N, M), bool)
    module, u = made(), jnp.asarray(units(inputs(), mask))
    items, anchors = module.lists(u, jnp.asarray(mask), jnp.asarray(TRAIN), graph_of())
    alone, _ = made(joined=False).lists(u, jnp.asarray(mask), jnp.asarray(TRAIN), graph_of())
    assert items.rows.shape == (N, K + A) and alone.rows.shape == (N, K + 1)
    for v in range(N):
        ids = np.asarray(items.rows[v])[np.asarray(items.valid[v])].tolist()
        first, more = ([*np.asarray(p.rows[v])[np.asarray(p.valid[v])].tolist()] for p in (alone, anchors))
        assert len(set(ids)) == len(ids) and set(ids) == {*first, *more} and ids[: len(first)] == first


LENGTH = 5


def reranker(**options):
    given = dict(heads=2, hidden=6, blocks=2, rate=0.0, path_rate=0.0, **options)
    return drawn(lambda: Reranker(A, 4, **given, rngs=nnx.Rngs(0)))


def refined(module, s, valid=None):
    return similarities(run(module, s, jnp.ones(s.shape[:-1], bool) if valid is None else jnp.asarray(valid))[0])


def test_permuting_the_candidates_permutes_the_scores_which_are_cosines():
    module, s = reranker(), np.random.default_rng(0).uniform(-1, 1, (2, LENGTH, A))
    order = [0, 3, 1, 4, 2]
    scores = np.asarray(refined(module, s))
    np.testing.assert_allclose(refined(module, s[:, order]), scores[:, order], rtol=1e-10)
    assert np.abs(scores).max() <= 1 + 1e-12 and scores[:, 1:].std() > 1e-3
    np.testing.assert_allclose(scores[:, 0], 1, rtol=1e-12)
    swapped = np.asarray(refined(module, s[:, [1, 0, 2, 3, 4]]))
    assert np.abs(swapped[:, 2:] - scores[:, 2:]).max() > 1e-3  # the first is the query


def test_the_places_of_the_anchors_count_and_those_that_are_0_do_not():
    module, s = reranker(), np.random.default_rng(0).uniform(-1, 1, (LENGTH, A))
    assert np.abs(refined(module, s[:, [1, 0, 2]]) - refined(module, s)).max() > 1e-3
    s[:, 2] = 0
    before = refined(module, s)
    module.topk_proj.kernel.set_value(module.topk_proj.kernel[...].at[2].set(7))
    np.testing.assert_array_equal(refined(module, s), before)


def test_one_more_candidate_changes_the_others_through_attention_only():
    module, s = reranker(), np.random.default_rng(0).uniform(-1, 1, (LENGTH, A))
    valid = np.arange(LENGTH) < LENGTH - 1
    assert np.abs(np.asarray(refined(module, s, valid) - refined(module, s))[:-1]).max() > 1e-5
    np.testing.assert_allclose(refined(module, s, valid)[:-1], refined(module, s[:-1]), rtol=1e-12)
    for block in module.blocks:
        block.attn.out.kernel.set_value(0 * block.attn.out.kernel[...])
    np.testing.assert_allclose(refined(module, s, valid)[:-1], refined(module, s)[:-1], rtol=1e-12)


def test_contrastive_loss_divides_by_two_and_counts_the_query():
    similarity = jnp.array([1.0, 0.4, -0.6, 0.9])
    same, counted = jnp.array([True, True, False, False]), jnp.array([True, True, True, False])
    e = np.exp(np.array([1.0, 0.4, -0.6]) / 2)
    np.testing.assert_allclose(contrastive(similarity, same, counted), -np.log((e[0] + e[1]) / e.sum()), rtol=1e-12)
    assert contrastive(similarity, jnp.ones(4, bool), counted) == 0
    assert contrastive(similarity, same, counted.at[0].set(False)) == 0  # no label, no loss
    alone = contrastive(similarity, same, jnp.array([True, False, True, False]))
    np.testing.assert_allclose(alone, -np.log(e[0] / (e[0] + e[2])), rtol=1e-12)


def test_a_perfect_reconstruction_costs_one_hundredth():
    module = drawn(lambda: Reranker(3, 3, heads=1, hidden=3, blocks=1, rate=0.0, path_rate=0.0, rngs=nnx.Rngs(0)))
    module.feature_align.kernel.set_value(5 * jnp.eye(3))
    module.feature_align.bias.set_value(jnp.zeros(3))
    s = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3)))
    np.testing.assert_allclose(module.reconstruction(s, s), [0.01, 0.01], rtol=1e-12)
    np.testing.assert_allclose(module.reconstruction(s, -s), [2, 2], rtol=1e-12)
    slope = jax.grad(lambda z: module.reconstruction(s, z).sum())(s)
    assert not np.asarray(slope).any()  # clamped: finite and 0


def call(module, x, mask=None, graph=None, told=None):
    mask = np.ones((N, M), bool) if mask is None else mask
    told = (context() if told is None else told).told(module.info.needs)
    return run(module, x, jnp.asarray(mask), graph_of() if graph is None else graph, told)


def test_rotating_every_modality_changes_nothing_but_the_mean():
    x = inputs()
    turns = np.stack([np.linalg.qr(np.random.default_rng(m).normal(size=(D, D)))[0] for m in range(M)])
    turned = np.einsum("nmd,mde->nme", x, turns)
    module = fusion(readout="vote")
    a, b = call(module, x, masks()), call(module, turned, masks())
    for first, second in zip(jax.tree.leaves((a.out, a.losses)), jax.tree.leaves((b.out, b.losses)), strict=True):
        np.testing.assert_allclose(second, first, rtol=1e-8)
    np.testing.assert_allclose(state(b, "refined"), state(a, "refined"), rtol=1e-7, atol=1e-10)
    assert np.abs(call(fusion(), turned).out - call(fusion(), x).out).max() > 1e-2


def test_losses_are_means_over_training_nodes_and_over_entries():
    module, mask = fusion(contrastive=0.5, alpha=2.0), masks()
    fused = call(module, inputs(), mask)
    (shown,) = (a for a in fused.attention if a.name == "similarity")
    similarity, valid, rows = (np.asarray(p).reshape(N, -1) for p in (shown.weights, shown.valid, shown.senders))
    train = TRAIN & mask.any(1)
    each = []
    for v in np.flatnonzero(train):
        j = [i for i in range(K + A) if valid[v, i] and train[rows[v, i]]]
        e = np.exp(similarity[v, j] / 2)
        each.append(-np.log(e[LABELS[rows[v, j]] == LABELS[v]].sum() / e.sum()))
    np.testing.assert_allclose(fused.losses["contrastive"], 0.5 * np.mean(each), rtol=1e-10)
    assert np.ptp(each) > 0.01
    z, u = state(fused, "refined"), jnp.asarray(units(inputs(), mask))
    items, anchors = module.lists(u, jnp.asarray(mask), jnp.asarray(train), graph_of())
    found = module.reranker.reconstruction(affinity(u, jnp.asarray(mask), items, anchors), z)
    np.testing.assert_allclose(fused.losses["reconstruction"], 2 * np.asarray(found)[valid].mean(), rtol=1e-10)
    assert set(call(fusion(contrastive=0.0), inputs()).losses) == {"reconstruction"}


def test_a_vote_is_that_of_the_training_nodes_of_the_list_but_oneself():
    module = fusion(readout="vote")
    fused = call(module, inputs())
    (shown,) = (a for a in fused.attention if a.name == "similarity")
    similarity, valid, rows = (np.asarray(p).reshape(N, -1) for p in (shown.weights, shown.valid, shown.senders))
    for v in range(N):
        votes, total = np.full(C, 1 / C), 1.0
        for i in range(1, K + A):
            if valid[v, i] and TRAIN[rows[v, i]]:
                e = np.exp(similarity[v, i] / 2)
                votes[LABELS[rows[v, i]]] += e
                total += e
        np.testing.assert_allclose(fused.prediction[v], np.log(votes / total), rtol=1e-10)
    np.testing.assert_allclose(np.exp(fused.prediction).sum(-1), 1, rtol=1e-12)
    np.testing.assert_allclose(fused.out, np.asarray(module.out(fused.prediction)), rtol=1e-10)


def test_the_own_label_is_not_in_the_own_vote():
    module, x, other = fusion(readout="vote"), inputs(), LABELS.copy()
    other[0] = 1
    a, b = (np.asarray(call(module, x, told=context(labels)).prediction) for labels in (LABELS, other))
    np.testing.assert_array_equal(a[0], b[0])
    assert np.any(a[1:6] != b[1:6])
    assert call(fusion(), x).prediction is None


def test_without_training_nodes_all_classes_are_alike():
    fused = call(fusion(readout="vote"), inputs(), told=context(train=np.zeros(N, bool)))
    np.testing.assert_allclose(fused.prediction, np.full((N, C), -np.log(C)), rtol=1e-12)
    assert fused.losses["contrastive"] == 0 and np.isfinite(fused.losses["reconstruction"])


def test_graphs_of_a_batch_do_not_meet():
    x, y = inputs(), inputs()
    y[6:] += 5.0
    module = fusion(readout="vote")
    np.testing.assert_array_equal(call(module, x).out[:6], call(module, y).out[:6])
    first = (RECEIVERS < 6) & (SENDERS < 6)
    alone = graph_of(6, SENDERS[first], RECEIVERS[first])
    found = call(module, x[:6], np.ones((6, M), bool), alone, context(LABELS[:6], TRAIN[:6])).out
    np.testing.assert_allclose(call(module, x).out[:6], found, rtol=1e-10)


def test_rows_that_stand_for_no_node_are_in_no_list():
    """Nor in the losses, whatever stands in their features, mask and labels."""
    present = np.arange(N) != 2
    x = inputs()
    y = np.where(present[:, None, None], x, 9.0)
    other = np.where(present, LABELS, (LABELS + 1) % C)
    graph = graph_of(present=present)
    a = call(fusion(), x, graph=graph)
    b = call(fusion(), y, graph=graph, told=context(other))
    np.testing.assert_array_equal(a.out, b.out)
    assert a.losses == b.losses and not np.asarray(a.out[2]).any()
    mask = np.ones((N, M), bool)
    mask[2] = False
    np.testing.assert_allclose(call(fusion(), x, mask).out, a.out, rtol=1e-12)


def test_a_row_behind_those_of_the_target_is_no_training_node():
    found = call(fusion(), inputs(), told=context(LABELS[:-1], TRAIN[:-1])).out
    train = TRAIN.copy()
    train[-1] = False
    np.testing.assert_array_equal(found, call(fusion(), inputs(), told=context(train=train)).out)


@pytest.mark.parametrize("frozen", [True, False])
def test_what_made_x_has_a_gradient_of_affinities_where_asked_for(frozen):
    graphdef, params, rest = nnx.split(fusion(frozen=frozen), nnx.Param, ...)

    def losses(params, x):
        fused = nnx.merge(graphdef, params, rest, copy=True)(x, jnp.asarray(masks()), graph_of(), context())
        return sum(fused.losses.values())

    of_params, of_x = jax.jit(jax.grad(losses, (0, 1)))(params, inputs())
    assert np.any(np.asarray(of_x)) != frozen
    assert all(np.isfinite(g).all() for g in jax.tree.leaves((of_params, of_x)))
    assert np.any(np.asarray(of_params.reranker.topk_proj.kernel[...]))


def test_a_skipped_step_is_skipped_by_the_whole_list():
    x = drop_path(jnp.ones((400, 3, 2)), 0.25, jax.random.key(0))
    per_list = np.asarray(x).reshape(400, -1)
    assert (per_list == per_list[:, :1]).all()
    assert set(np.round(per_list[:, 0], 6)) == {0, np.round(4 / 3, 6)}
    assert abs((per_list[:, 0] == 0).mean() - 0.25) < 0.07
    rates = [block.path_rate for block in made(path_rate=0.3, blocks=3).reranker.blocks]
    np.testing.assert_allclose(rates, [0, 0.15, 0.3])


@pytest.mark.parametrize("options", [dict(anchors=1), dict(candidates=20, anchors=20), dict(blocks=1), dict(width=6)])
def test_other_sizes(options):
    fused = call(fusion(**options), inputs(), masks())
    assert fused.out.shape == (N, D) and np.isfinite(fused.out).all()


def test_halves_are_ranked_in_single_precision():
    x = jnp.asarray(inputs(), jnp.bfloat16)
    fused = call(made(), x)
    assert fused.out.dtype == jnp.bfloat16
    exact = call(made(), np.asarray(x, np.float32))
    np.testing.assert_allclose(np.asarray(fused.out, np.float32), exact.out, atol=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(readout="refind"), "readout='refind'.*did you mean 'refined'"),
        (dict(candidates=0), "candidates=0"),
        (dict(anchors=0), "anchors=0"),
        (dict(heads=3), "heads=3 does not divide the width E=4"),
        (dict(alpha=-1.0), "alpha=-1.0"),
        (dict(contrastive=-0.1), "contrastive=-0.1"),
        (dict(ratio=0.1), "ratio=0.1"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=f"fusion 'csa_rerank': {message}"):
        nnx.eval_shape(lambda: made(**options))


def test_what_compares_classes_is_refused_of_other_targets():
    told = context(kind="values")
    for options in ({}, dict(contrastive=0.0, readout="vote")):
        with pytest.raises(ValueError, match="fusion 'csa_rerank': .*the target is values of nodes: set contrastive=0"):
            call(fusion(**options), inputs(), told=told)
    assert np.isfinite(call(fusion(contrastive=0.0), inputs(), told=told).out).all()


@pytest.mark.parametrize(
    ("readout", "changes"),
    [("refined", {}), ("vote", {"model.head": "fusion", "data.setting": "inductive"})],
    ids=["refined", "vote"],
)
def test_it_learns(readout, changes):
    """The training loss falls below that of the first epoch, and predictions are finite."""
    options = dict(candidates=4, anchors=6, heads=2, width=8, readout=readout)
    changes = changes | {"model.placement": "after", "training.epochs": 12, "training.chunk": 12}
    with tiny.as_users_run():
        data, plan = planted({"model.fusion.name": "csa_rerank", "model.fusion.options": options, **changes})
        cell = train_model(plan, data, prepare(plan.data, data, (0,), **plan.preparing))
    assert np.isfinite(cell.prediction).all()
    loss = cell.history["train_loss"][0]
    assert np.nanmin(loss) < loss[0]


def test_what_is_not_said():
    wanted = dict(candidates=16, anchors=16, width=None, heads=4, blocks=2, ratio=4.0, readout="refined", edges=True)
    wanted |= dict(joined=True, frozen=True, contrastive=1.0, alpha=0.2, rate=0.1, path_rate=0.1)
    assert zoo.options("fusion", "csa_rerank") == wanted


def test_where_a_list_is_dropped_and_how_much(monkeypatch):
    """S, W S + b; of every block weights, steps, and the step of whole lists but in the first block."""
    rates = dict(rate=0.2, path_rate=0.3)
    module = drawn(lambda: Reranker(A, 4, heads=2, hidden=6, blocks=2, **rates, rngs=nnx.Rngs(0)))
    s, valid = jnp.zeros((7, LENGTH, A)), jnp.ones((7, LENGTH), bool)
    found = dropped(monkeypatch, lambda key: module(s, valid, key=key)[0])
    step, path = ((7, LENGTH, 4), 0.2), ((7, 1, 1), 0.3)
    weights, inner = ((7, 2, LENGTH, LENGTH), 0.2), ((7, LENGTH, 6), 0.2)
    first, last = [weights, step, inner, step], [weights, step, path, inner, step, path]
    assert found == [((7, LENGTH, A), 0.2), step, *first, *last]


def test_a_block_skips_its_steps_by_the_list():
    """One that adds ones in each of its steps adds 0, 2 or 4 to all of a list."""
    block = drawn(lambda: Block(4, 2, 6, rate=0.0, path_rate=0.5, rngs=nnx.Rngs(0)))
    block.attn.out.kernel[...], block.fc2.kernel[...] = jnp.zeros((4, 4)), jnp.zeros((6, 4))
    block.attn.out.bias[...] = block.fc2.bias[...] = jnp.ones(4)
    x, valid = jnp.zeros((400, 3, 4)), jnp.ones((400, 3), bool)
    found = np.asarray(run(block, x, valid, key=jax.random.key(0))[0]).reshape(400, -1)
    assert (found == found[:, :1]).all()
    np.testing.assert_allclose([(found == v).mean() for v in (0, 2, 4)], [0.25, 0.5, 0.25], atol=0.08)


def test_the_hidden_width_is_that_of_the_lists_width():
    assert nnx.eval_shape(lambda: made(width=6)).reranker.blocks[0].fc1.out_features == 24


def test_weights_start_small():
    module = Reranker(64, 64, heads=4, hidden=64, blocks=1, rate=0.0, path_rate=0.0, rngs=nnx.Rngs(0))
    for linear in (module.topk_proj, module.blocks[0].attn.query, module.blocks[0].fc1, module.feature_align):
        np.testing.assert_allclose(linear.kernel[...].std(), 0.02, rtol=0.05)


def test_of_senders_those_without_a_modality_in_common_come_last():
    """However far the others are. One edge alone is an edge, and none are none."""
    x = np.zeros((4, M, D))
    x[0, 0, 0] = x[2, 1, 0] = 1.0
    x[1, 0, 0] = x[3, 0, 0] = -1.0
    mask = x.any(-1)
    u, there, train = jnp.asarray(x), jnp.asarray(mask), jnp.zeros(4, bool)

    def candidates(senders, count=2):
        graph = Graph.create(senders, [0] * len(senders), 4)
        found, _ = candidates_and_anchors(u, there, train, graph, count, 1, True)
        return np.asarray(found.rows[0])[np.asarray(found.valid[0])].tolist()

    assert candidates([1, 2]) == [0, 1, 2]
    assert candidates([2]) == [0, 2, 1] and candidates([3], 1) == [0, 3]
    assert candidates([]) == [0, 1, 3]
