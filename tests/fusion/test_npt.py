"""NPT beyond its golden numbers: what is hidden and shown, which labels reach which prediction, who sees whom."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import tasks, zoo
from fusion_jax.fusion.npt import MAB, NPT, Table
from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import attend
from fusion_jax.records import Context, Target
from tests import tiny
from tests.helpers import drawn, run, shown
from tests.nn.reference import dropped

N, M, D, C = 8, 3, 8, 3
SMALL = dict(depth=2, heads=2, rate=0.0, outputs=C)
RNG = np.random.default_rng(5)
X, MASK = RNG.normal(size=(N, M, D)), RNG.random((N, M)) < 0.8
MASK[0], MASK[1] = True, False
LABELS, TRAIN = np.arange(N) % C, np.arange(N) < 5


def npt(**options) -> NPT:
    return drawn(lambda: NPT(M, D, **{**SMALL, **options}, rngs=nnx.Rngs(0)))


def edgeless(*counts: int) -> Graph:
    return Graph.create([], [], np.array(counts or (N,)))


def told(labels=LABELS, train=TRAIN, key=None, kind="classes", **epoch) -> Context:
    """What a model knows of labels, as training tells it."""
    field = dict(classes="labels", labels="labels", values="values")[kind]
    target = Target(kind, num_outputs=C, fields={field: jnp.asarray(labels)})
    target = tasks.of(target).hide_unseen(target, jnp.asarray(train))
    return Context(key=key, target=target, train=jnp.asarray(train), **epoch)


def of_training(seed=0, step=0, **more) -> Context:
    return told(key=jax.random.key(seed), step=jnp.int32(step), total=10, **more)


def call(module, x=X, mask=MASK, graph=None, context=None):
    graph = edgeless() if graph is None else graph
    return run(module, jnp.asarray(x), jnp.asarray(mask), graph, told() if context is None else context)


# ---- labels


def test_labels_of_validation_and_test_rows_reach_no_prediction_through_training():
    data = tiny.dataset()
    cell = tiny.cell(
        model__fusion__name="npt",
        model__fusion__options=dict(p_mask=0.5, depth=2, heads=2),
        training__select="last",
    )
    labels, split = np.array(data.target.labels), data.split(0)
    rows = np.r_[split.val, split.test]

    def trained(labels):
        other = dataclasses.replace(data, target=dataclasses.replace(data.target, fields={"labels": labels}))
        with tiny.as_users_run():
            return np.asarray(tiny.trained(cell.plan, other, (0,)).prediction)

    unseen, seen = labels.copy(), labels.copy()
    unseen[rows] = 1 - unseen[rows]
    seen[split.train[:2]] = 1 - seen[split.train[:2]]
    found = trained(labels)
    np.testing.assert_array_equal(found, trained(unseen))
    assert np.abs(found - trained(seen)).max() > 1e-4


def test_a_training_rows_own_label_reaches_its_own_prediction_only_where_it_leaves_the_loss():
    module, revealed = npt(p_mask=0.5), np.zeros(N, bool)
    for seed in range(3):
        before = call(module, context=of_training(seed))
        for i in np.flatnonzero(TRAIN):
            labels = np.where(np.arange(N) == i, (LABELS + 1) % C, LABELS)
            after = call(module, context=of_training(seed, labels=labels))
            moved = np.abs(after.prediction - before.prediction).max(1) > 0
            np.testing.assert_array_equal(before.revealed, after.revealed)
            assert moved[i] == moved.any() == before.revealed[i]  # a hidden label moves nobody
            assert moved.sum() <= 1 or MASK[i].any()  # nor does that of a node without modalities another one
        assert not np.asarray(before.revealed)[~TRAIN].any()
        revealed |= np.asarray(before.revealed)
    assert 0 < revealed[TRAIN].sum()


def test_a_label_is_masked_with_the_probability_that_is_said():
    n, train = 4000, np.arange(4000) % 2 == 0
    module = npt(p_mask=0.8, over="edges", p_feature=0.0)
    context = of_training(labels=np.zeros(n, int), train=train)
    found = np.asarray(call(module, np.zeros((n, M, D)), np.ones((n, M), bool), edgeless(n), context).revealed)
    assert not found[~train].any()
    assert abs(found[train].mean() - 0.2) < 0.03


def test_evaluation_shows_the_labels_of_all_training_rows():
    module = npt(p_mask=0.5)
    found = call(module)
    np.testing.assert_array_equal(found.revealed, TRAIN)
    other = call(module, context=told(np.where(TRAIN, (LABELS + 1) % C, LABELS)))
    assert (np.abs(found.prediction - other.prediction).max(1) > 0)[~TRAIN].all()
    unseen = call(module, context=told(np.where(TRAIN, LABELS, (LABELS + 1) % C)))
    np.testing.assert_array_equal(found.prediction, unseen.prediction)


@pytest.mark.parametrize("over", ["nodes", "edges"])
def test_a_row_behind_all_that_stands_for_none_of_the_target_changes_nothing(over):
    """As evaluation adds one where nodes arrive in a graph that is made from features."""
    module, ring = npt(p_mask=0.5, over=over), np.arange(N)
    graph = Graph.create(ring, np.roll(ring, 1), N)
    more = Graph.create(np.append(ring, [N, N]), np.append(np.roll(ring, 1), [N, N]), N + 1)
    more = dataclasses.replace(more, present=jnp.arange(N + 1) < N)
    one, other = call(module, graph=graph), call(module, padded(X), padded(MASK), more)
    np.testing.assert_allclose(other.prediction[:N], one.prediction, atol=1e-12)
    np.testing.assert_allclose(other.out[:N], one.out, atol=1e-12)
    np.testing.assert_array_equal(other.revealed, TRAIN)


def padded(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows, np.zeros_like(rows[:1])])


def test_by_default_no_label_is_asked_for_and_none_is_shown():
    module = npt()
    assert "labels" not in module.needs
    found = call(module, context=Context())
    assert found.revealed is None
    np.testing.assert_array_equal(found.out, call(module).out)


@pytest.mark.parametrize("kind", ["labels", "values"])
def test_flags_and_values_are_shown_as_they_are(kind):
    labels = RNG.random((N, C)) < 0.5 if kind == "labels" else RNG.normal(size=(N, C))
    module, classes = npt(p_mask=0.5), np.eye(C)[LABELS]
    assert np.isfinite(call(module, context=told(labels, kind=kind)).out).all()
    as_classes = classes.astype(bool) if kind == "labels" else classes
    np.testing.assert_array_equal(call(module, context=told(as_classes, kind=kind)).out, call(module).out)


def test_a_task_whose_labels_are_no_vector_is_refused_by_name():
    target = Target("survival", time=jnp.ones(N), event=jnp.ones(N, bool))
    context = Context(target=target, train=jnp.asarray(TRAIN))
    with pytest.raises(ValueError, match=r"fusion 'npt': p_mask=0\.5 and the task 'survival'.*p_mask=1"):
        npt(p_mask=0.5)(jnp.asarray(X), jnp.asarray(MASK), edgeless(), context)
    assert np.isfinite(call(npt(), context=context).out).all()


# ---- cells that are hidden


def test_fifteen_of_a_hundred_cells_are_hidden_and_ten_of_these_are_noise():
    n = 6000
    x, mask = RNG.normal(3, 1, size=(n, M, D)), RNG.random((n, M)) < 0.7
    cells, bits, hidden = jax.tree.map(np.asarray, npt().hide(jnp.asarray(x), jnp.asarray(mask), jax.random.key(1)))
    noise = hidden & ~bits
    assert not hidden[~mask].any() and bits[~mask].all() and not bits[mask & ~hidden].any()
    assert abs(hidden[mask].mean() - 0.15) < 0.01
    assert abs(noise[hidden].mean() - 0.1) < 0.02
    assert not cells[hidden & bits].any()
    np.testing.assert_array_equal(cells[mask & ~hidden], x[mask & ~hidden])
    assert abs(cells[noise].mean()) < 0.1 and abs(cells[noise].std() - 1) < 0.1


def test_a_hidden_cell_is_neither_read_nor_moved_by_what_rebuilds_it():
    module, context = npt(p_feature=0.5), of_training(3)

    def gradients(x):
        def said(x, pick):
            fused = module(x, jnp.asarray(MASK), edgeless(), context)
            return pick(fused)

        read = jax.grad(lambda x: (said(x, lambda f: f.prediction) ** 2).sum())(x)
        return read, jax.grad(lambda x: said(x, lambda f: f.losses["reconstruction"]))(x)

    read, rebuilt = (np.abs(np.asarray(g)).max(-1) for g in jax.jit(gradients)(jnp.asarray(X)))
    untouched = (read == 0) & MASK
    assert 0.2 < untouched[MASK].mean() < 0.8
    assert not rebuilt[untouched].any() and (rebuilt[~untouched & MASK] > 0).all()


def test_the_reconstruction_weighs_less_and_less():
    module = npt(p_feature=0.5)
    losses = [float(call(module, context=of_training(step=step)).losses["reconstruction"]) for step in (0, 2, 5, 10)]
    assert losses[0] > 0.1
    t = (1 + np.cos(0.2 * np.pi)) / 4
    np.testing.assert_allclose(np.array(losses[1:]) / losses[0], [t / (1 - t), 1 / 3, 0], rtol=1e-12, atol=1e-12)
    assert call(module).losses == {}
    for off in (dict(p_feature=0.0), dict(tradeoff=0.0)):
        assert call(npt(**off), context=of_training()).losses == {}


def test_the_reconstruction_is_the_mean_square_over_hidden_cells():
    module, context = npt(p_feature=0.5), of_training(3)
    keys = jax.random.split(context.key, 5)
    x = jnp.asarray(np.where(MASK[..., None], X, 0))
    cells, bits, hidden = module.hide(x, jnp.asarray(MASK), keys[0])
    columns = [jnp.concatenate([cells[:, m], bits[:, m, None].astype(float)], 1) for m in range(M)]
    columns.append(jnp.concatenate([jnp.zeros((N, C)), jnp.ones((N, 1))], 1))

    def look(q, k, v, **drop):
        return attend(q[None], k[None], v[None], jnp.asarray(MASK.any(1))[None], **drop)[0][0], None

    encoded, _ = module.table.encode(module.table.embed(columns), look)
    rebuilt = jnp.stack(module.table.decode(encoded)[:-1], 1)
    error = np.asarray((rebuilt - x) ** 2)[np.asarray(hidden)].mean()
    found = call(module, context=context)
    np.testing.assert_allclose(found.losses["reconstruction"], error, rtol=1e-10)
    np.testing.assert_allclose(found.prediction, module.table.decode(encoded)[-1], rtol=1e-9, atol=1e-12)


def test_padding_changes_no_training_loss():
    x, mask = np.concatenate([X, np.ones((3, M, D))]), np.concatenate([MASK, np.zeros((3, M), bool)])
    padded = told(np.r_[LABELS, 0, 0, 0], np.r_[TRAIN, False, False, False], jax.random.key(0))
    module = npt(p_mask=0.5)
    found, plain = call(module, x, mask, edgeless(N, 3), padded), call(module, context=of_training())
    np.testing.assert_allclose(found.losses["reconstruction"], plain.losses["reconstruction"], rtol=1e-12)
    np.testing.assert_allclose(found.prediction[:N], plain.prediction, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(found.revealed[:N], plain.revealed)


@pytest.mark.parametrize("kind, labels", [("classes", LABELS), ("values", RNG.normal(size=(N, C)))])
def test_a_row_behind_those_of_the_target_is_shown_nothing_and_changes_nothing(kind, labels):
    """Evaluation of an edge set of the seed's own may have one."""
    x, mask = np.concatenate([X, np.ones((1, M, D))]), np.concatenate([MASK, np.zeros((1, M), bool)])
    module = npt(p_mask=0.5)
    found = call(module, x, mask, edgeless(N + 1), told(labels, kind=kind))
    plain = call(module, context=told(labels, kind=kind))
    np.testing.assert_allclose(found.prediction[:N], plain.prediction, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(found.revealed, TRAIN)  # rows of the target


# ---- who sees whom


def test_graphs_of_a_batch_are_tables_of_their_own():
    module = npt()
    both = call(module, graph=edgeless(3, N - 3)).out
    first = call(module, X[:3], MASK[:3], edgeless(3), Context()).out
    second = call(module, X[3:], MASK[3:], edgeless(N - 3), Context()).out
    np.testing.assert_allclose(both, np.concatenate([first, second]), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("over", ["nodes", "edges"])
def test_nobody_sees_a_node_that_is_not_there_or_has_nothing(over):
    module, there = npt(over=over, p_mask=0.5), np.arange(N) != 2
    ends = np.array([(i, j) for i in range(N) for j in range(N) if i != j]).T
    complete = Graph.create(*ends, N)
    mask = MASK & there[:, None]
    gone = call(module, mask=mask, graph=dataclasses.replace(complete, present=jnp.asarray(there)))
    labels = np.where(there & MASK.any(1), LABELS, (LABELS + 1) % C)
    again = call(module, np.where(there[:, None, None], X, 7), mask, complete, told(labels))
    seen = there & MASK.any(1)
    np.testing.assert_allclose(gone.out[seen], again.out[seen], rtol=1e-10, atol=1e-12)
    assert np.abs(gone.out[1]).max() > 0  # a node without modalities hears of the others
    if over == "nodes":
        assert not np.asarray(gone.out[2]).any()


def test_along_the_edges_of_a_complete_graph_is_over_all_nodes():
    ends = np.array([(i, j) for i in range(N) for j in range(N) if i != j]).T
    complete = Graph.create(*ends, N)
    np.testing.assert_allclose(
        call(npt(over="edges"), graph=complete).out, call(npt(), graph=complete).out, rtol=1e-9, atol=1e-12
    )


def test_along_edges_a_node_sees_its_senders_and_itself():
    graph, module = Graph.create([0, 3], [4, 5], N), npt(over="edges")
    moved = np.where((np.arange(N) == 0)[:, None, None], X + 1, X)
    changed = np.abs(call(module, graph=graph).out - call(module, moved, graph=graph).out).max(1) > 0
    assert np.flatnonzero(changed).tolist() == [0, 4]
    seen = np.abs(shown(call(module, graph=graph), "between nodes"))
    assert seen.shape == (graph.looped.num_edges, 1, 2)


def test_of_one_node_the_attention_between_nodes_is_one():
    """Queries and keys have no say: the block is a map of the values."""
    module = MAB(D, heads=2, rngs=nnx.Rngs(0))
    x = jnp.asarray(X[:1, 0], jnp.float32)
    out, weights = module(x)
    np.testing.assert_array_equal(weights, np.ones((2, 1, 1)))
    module.fc_q.kernel[...] = module.fc_k.kernel[...] = 9 * jnp.ones((D, D), jnp.float32)
    np.testing.assert_allclose(module(x)[0], out, rtol=1e-6)


def test_modalities_with_their_own_embeddings_and_maps_commute_with_the_blocks_between_attributes_only():
    order, table = (
        np.array([2, 0, 1]),
        drawn(lambda: Table([D + 1] * M, [0] * M, D, depth=2, heads=2, rngs=nnx.Rngs(0))),
    )
    x = jnp.asarray(X)
    rows, columns = (jax.tree.map(lambda a: a[0], part) for part in (table.enc.rows, table.enc.columns))
    np.testing.assert_allclose(columns(x[:, order])[0], columns(x)[0][:, order], rtol=1e-10, atol=1e-12)
    flat, moved = rows(x.reshape(N, -1))[0], rows(x[:, order].reshape(N, -1))[0]
    assert np.abs(moved.reshape(N, M, D) - flat.reshape(N, M, D)[:, order]).max() > 1e-2
    assert "modalities" not in NPT.symmetries


# ---- what a block is


def test_a_block_normalises_queries_only_and_divides_by_the_width_of_the_keys():
    """Keys and values grow with y; a residual of its own; nothing is left where the maps behind it are 0."""
    module = drawn(lambda: MAB(6, 5, 8, heads=2, rngs=nnx.Rngs(0)))
    x, y = jnp.asarray(RNG.normal(size=(4, 6))), jnp.asarray(RNG.normal(size=(3, 5)))

    def normed(x, layer):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True)) * layer.scale[...] + layer.bias[...]

    q, k, v = module.fc_q(normed(x, module.ln0)), module.fc_k(y), module.fc_v(y)
    heads = []
    for h in range(2):
        part = slice(4 * h, 4 * h + 4)
        heads.append(jax.nn.softmax(q[:, part] @ k[:, part].T / np.sqrt(5), -1) @ v[:, part])
    h = module.fc_mix_heads(jnp.concatenate(heads, -1)) + module.fc_res(x)
    out = h + module.rff(normed(h, module.ln1))
    np.testing.assert_allclose(run(module, x, y)[0], out, rtol=1e-9)


def test_the_label_token_is_what_a_head_of_its_own_reads():
    module = npt(p_mask=0.5)
    found = call(module)
    np.testing.assert_allclose(found.prediction, module.table.out_embedding[-1](found.out), rtol=1e-10, atol=1e-12)
    assert found.tokens.shape == (N, M, D)


def test_it_computes_in_halves():
    module = NPT(M, D, **{**SMALL, "rate": 0.1}, p_mask=0.5, rngs=nnx.Rngs(0))
    halves = nnx.merge(nnx.graphdef(module), jax.tree.map(lambda a: a.astype(jnp.bfloat16), nnx.state(module)))
    found = call(halves, X.astype(jnp.bfloat16), context=of_training())
    assert found.out.dtype == jnp.bfloat16 and np.isfinite(found.out.astype(jnp.float32)).all()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (dict(over="node"), r"fusion 'npt': over='node' \(did you mean 'nodes'\?\); expected one of nodes, edges"),
        (dict(depth=3), "fusion 'npt': depth=3; expected an even number"),
        (dict(p_mask=0.0), r"fusion 'npt': p_mask=0\.0; expected a number in \(0, 1\]"),
        (dict(p_mask=2.0), r"fusion 'npt': p_mask=2\.0; expected a number in \(0, 1\]"),
        (dict(p_feature=1.0), "fusion 'npt': p_feature=1.0"),
        (dict(p_zero=1.5), "fusion 'npt': p_zero=1.5"),
        (dict(tradeoff=1.0), "fusion 'npt': tradeoff=1.0"),
        (dict(heads=3), "fusion 'npt': heads=3 does not divide the width D=8"),
    ],
)
def test_an_option_out_of_range_is_refused(options, match):
    with pytest.raises(ValueError, match=match):
        NPT(M, D, **{**SMALL, **options}, rngs=nnx.Rngs(0))


def test_what_is_not_said():
    wanted = dict(depth=8, heads=8, over="nodes", norm_first=True, p_mask=1.0, p_feature=0.15, p_zero=0.9)
    assert zoo.options("fusion", "npt") == wanted | dict(tradeoff=0.5, rate=0.1)


@pytest.mark.parametrize("norm_first", [True, False])
def test_where_a_block_drops_and_how_much(monkeypatch, norm_first):
    module = drawn(lambda: MAB(6, 5, 8, heads=2, rate=0.2, norm_first=norm_first, rngs=nnx.Rngs(0)))
    x, y = jnp.zeros((4, 6)), jnp.zeros((3, 5))
    found = dropped(monkeypatch, lambda key: module(x, y, key=key))
    assert found == [((2, 4, 3), 0.2), ((4, 8), 0.2), ((4, 32), 0.2), ((4, 8), 0.2)]


def test_embeddings_blocks_and_what_is_decoded_drop(monkeypatch):
    """Of a stack one pair of blocks is traced; hidden cells and labels have keys of their own."""
    module, cell = npt(rate=0.2, depth=4, p_mask=0.5), (N, M + 1, D)
    keys = []
    for name in ("hide", "_label"):
        own = getattr(NPT, name)
        monkeypatch.setattr(NPT, name, lambda self, *a, own=own: keys.append(a[-1]) or own(self, *a))
    x, mask, graph, told = jnp.asarray(X), jnp.asarray(MASK), edgeless(), of_training()
    found = dropped(monkeypatch, lambda key: module(x, mask, graph, dataclasses.replace(told, key=key)).out)
    assert found[0] == found[-1] == (cell, 0.2) and {rate for _, rate in found} == {0.2}
    rows, columns = [s for s, _ in found[1:5]], [s for s, _ in found[5:9]]
    assert rows[1:] == [(N, 4 * D), (N, 16 * D), (N, 4 * D)] and len(found) == 10
    assert columns == [(N, 2, M + 1, M + 1), cell, (N, M + 1, 4 * D), cell]
    assert keys[0] is not keys[1]


def test_pairs_of_blocks_drop_other_entries(monkeypatch):
    """Only the keys of the two pairs differ here: blocks of zeros, and a bias that is dropped."""
    module = drawn(lambda: Table([D + 1] * M, [0] * M, D, depth=4, heads=2, rate=0.5, rngs=nnx.Rngs(0)))
    module.enc = jax.tree.map(jnp.zeros_like, module.enc)
    residual = module.enc.columns.fc_res.kernel
    residual[...] = jnp.broadcast_to(jnp.eye(D), residual.shape)
    module.enc.columns.fc_mix_heads.bias[...] = jnp.ones((2, D))
    module.enc.rows.fc_res.kernel[...] = jnp.broadcast_to(jnp.eye(M * D), (2, M * D, M * D))

    def look(q, k, v, **drop):
        return v, None

    x = jnp.zeros((50, M, D))
    found = np.asarray(jax.jit(lambda key: module.encode(x, look, key=key)[0])(jax.random.key(0)))
    assert set(np.unique(found)) == {0.0, 2.0, 4.0}  # of the first pair, of the second, or of both
    np.testing.assert_allclose([(found == v).mean() for v in (0, 2, 4)], [0.25, 0.5, 0.25], atol=0.06)


def test_one_type_of_columns_has_no_vector_of_its_type():
    alike = nnx.eval_shape(lambda: Table([3, 3], [0, 0], 4, depth=2, heads=2, rngs=nnx.Rngs(0)))
    assert alike.feature_type_embedding is None
    assert npt().table.feature_type_embedding.shape == (2, D) and npt().table.types == (0,) * M + (1,)


def test_edges_from_who_has_nothing_are_said_not_to_be_seen():
    graph = Graph.create([0, 1], [4, 5], N)
    (found,) = (a for a in call(npt(over="edges"), graph=graph).attention if a.name == "between nodes")
    np.testing.assert_array_equal(np.asarray(found.valid).ravel(), MASK.any(1)[np.asarray(graph.looped.senders)])


def test_who_hears_of_nobody_has_zeros():
    mask = np.where(np.arange(N)[:, None] < 3, False, MASK)
    found = call(npt(), mask=mask, graph=edgeless(3, N - 3))
    assert not np.asarray(found.out)[:3].any() and np.asarray(found.out)[3:].all()
