"""MPFNet: the limits of its fusion, its episodes and amplification, and its three stages as they are trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.losses.triplet import margin_loss
from fusion_jax.nn.prototypes import class_means, cosine, episode
from fusion_jax.records import Batch, Output, Target
from fusion_jax.schemes.mpfnet import MPFNet, amplified, remember
from fusion_jax.training.trial import scaled
from tests import helpers, tiny

pytestmark = pytest.mark.xdist_group("training-mpfnet")
CELL = {"scheme__name": "mpfnet", "training__epochs": 60, "training__chunk": 60, "model__rate": 0.0}
SHARES = {"shares": (1, 1, 1)}


@pytest.fixture(scope="module")
def data():
    return tiny.dataset()


def prepared(data, **options):
    """A model in evaluation with its prototypes, its batch, target and training weight."""
    plan = tiny.cell(**CELL, scheme__options=options).plan
    ready = tiny.prepared(plan, data, (0,))
    model = tiny.model(plan, data, ready)
    trial, target = (jax.tree.map(lambda a: a[0], tree) for tree in (ready.trials, ready.target))
    batch = scaled(ready.batch, trial)
    helpers.run(model, batch, target, trial.train_weight, by=remember)
    return model, batch, target, trial.train_weight


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def said(model, batch):
    return np.asarray(helpers.run(model, batch, by=_said))


def _said(model, batch):
    return model(batch).prediction


def _generic(model, batch):
    return model.only_generic(batch).prediction


def test_gamma_0_is_the_generic_encoder_alone(data):
    model, batch, *_ = prepared(data, gamma=0.0)
    close(said(model, batch), helpers.run(model, batch, by=_generic))
    model, batch, *_ = prepared(data, gamma=0.5)
    assert np.abs(said(model, batch) - helpers.run(model, batch, by=_generic)).max() > 0.01


def test_cascade_with_zero_weights_on_f_g_is_the_advanced_encoder_alone(data):
    model, batch, target, weight = prepared(data, form="cascaded")
    before = said(model, batch)
    widths = [x.shape[1] for x in batch.features.values()]
    for encoder, d in zip(model.advanced.encoders, widths, strict=True):
        assert encoder.linear.kernel.shape == (d + 8, 8)
        encoder.linear.kernel[...] = encoder.linear.kernel[...].at[d:].set(0)
    helpers.run(model, batch, target, weight, by=remember)
    after = said(model, batch)
    assert np.abs(after - before).max() > 1e-3
    nnx.update(model.generic, jax.tree.map(lambda a: 3 * a, nnx.state(model.generic, nnx.Param)))
    helpers.run(model, batch, target, weight, by=remember)
    close(said(model, batch), after)


def test_identities_of_prototypes():
    rng = np.random.default_rng(0)
    hidden, labels = jnp.asarray(rng.normal(size=(12, 5))), jnp.asarray(np.arange(12) % 3)
    valid = jnp.arange(12) < 9
    means = class_means(hidden, labels, valid, 3)
    for c in range(3):
        close(means[c], hidden[:9][labels[:9] == c].mean(0))
    order = rng.permutation(12)
    close(class_means(hidden[order], labels[order], valid[order], 3), means)
    close(class_means(hidden, labels, jnp.arange(12) < 3, 3), hidden[:3])  # one shot: the sample itself
    scales = jnp.asarray(rng.uniform(0.1, 9, size=(12, 1)))
    close(cosine(hidden * scales, means), cosine(hidden, means))
    value, grad = jax.value_and_grad(lambda x: cosine(x, means).sum())(jnp.zeros((2, 5)))
    assert value == 0 and not np.asarray(grad).any()
    assert not np.asarray(class_means(hidden, labels, labels == 1, 3))[0].any()


def test_triplet_where_all_three_coincide():
    """Loss 1, the margin, and a finite subgradient."""
    x, weight = jnp.ones((4, 3)), jnp.ones(4)
    value, grads = jax.value_and_grad(margin_loss, argnums=(0, 1, 2))(x, x, x, weight)
    assert value == 1 and all(np.isfinite(g).all() for g in grads)


LABELS = np.repeat([0, 1, 2, 3], [9, 4, 1, 6]).astype(np.int32)
PLAIN = jax.jit(lambda k: episode(LABELS, jnp.arange(20) != 0, 4, k, shots=3))
TWO = jax.jit(lambda k: episode(LABELS, jnp.arange(20) != 0, 4, k, shots=3, ways=2))


def draw(seed, program=PLAIN):
    return program(jax.random.key(seed))


def test_an_episode():
    """Valid rows of the right class, queries apart from support; one row is too few, three are not enough shots."""
    rows_seen = set()
    for seed in range(30):
        e = draw(seed)
        used = np.asarray(e.query | e.support)
        rows = np.asarray(e.rows)
        assert e.chosen.tolist() == [True, True, False, True]
        assert used.sum(1).tolist() == [4, 4, 0, 4] and np.asarray(e.query).sum(1).tolist() == [1, 1, 0, 1]
        assert not np.asarray(e.query & e.support).any()
        for c in range(4):
            assert (LABELS[rows[c][used[c]]] == c).all() and len(set(rows[c][used[c]])) == used[c].sum()
        assert 0 not in rows[used]
        rows_seen |= set(rows[0][np.asarray(e.query)[0]].tolist())
    assert rows_seen == set(range(1, 9)), "every row of a class is a query at times"


def test_all_episodes_are_one_program():
    """What is drawn changes values, never shapes: keys and labels with other counts do not compile again."""
    traces = []

    def program(key, labels):
        traces.append(key)
        return episode(labels, jnp.arange(20) != 0, 4, key, shots=3).rows

    compiled = jax.jit(program)
    for seed in range(3):
        compiled(jax.random.key(seed), jnp.roll(LABELS, seed).at[0].set(seed))
    assert len(traces) == 1


def test_ways():
    chosen = np.array([draw(seed, TWO).chosen for seed in range(60)])
    assert (chosen.sum(1) == 2).all() and not chosen[:, 2].any()
    assert chosen[:, [0, 1, 3]].mean(0).min() > 0.4  # two of three
    few = draw(0, TWO)
    assert not np.asarray(few.query | few.support)[~np.asarray(few.chosen)].any()


def output_of(hidden):
    return Output(hidden, None, hidden[:, None], hidden, jnp.ones((len(hidden), 1), bool))


def test_the_episode_loss_by_hand(data):
    """All classes, all rows but the query as support: cross-entropy of softmax(W d + b), softmax taken once."""
    model, *_ = prepared(data)
    model.weight[...], model.bias[...] = 3.0 * jnp.eye(2) + 0.5, jnp.array([0.1, -0.3])
    labels, rng = np.array([0, 0, 0, 1, 1, 1, 0]), np.random.default_rng(0)
    hidden = rng.normal(size=(7, 2, 8)).astype(np.float32)
    weight = jnp.asarray([1.0, 1, 1, 1, 1, 1, 0])
    scheme = MPFNet(shots=2, episodes=1)
    target, key = Target("classes", labels=jnp.asarray(labels), num_outputs=2), jax.random.key(4)
    given = output_of(jnp.asarray(hidden.reshape(7, 16))), target, weight, 0, key
    loss = helpers.run(model, *given, by=scheme.episode_loss)
    drawn = episode(jnp.asarray(labels), weight > 0, 2, jax.random.split(key, 1)[0], shots=2)

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    total = 0.0
    for c in range(2):
        q = int(drawn.rows[c][0])
        d = np.zeros(2)
        for k in range(2):
            w = hidden[np.asarray(drawn.rows[k][1:])].mean(0)
            d[k] = (unit(hidden[q]) * unit(w)).sum(-1) @ [1, 0.1]
        z = d @ np.asarray(model.weight[...]) + np.asarray(model.bias[...])
        total -= (z - np.log(np.exp(z).sum()))[c] / 2
    close(loss, total)


@pytest.mark.parametrize("form", ["parallel", "cascaded"])
def test_the_gradient_reaches_both_encoders(data, form):
    model, batch, target, weight = prepared(data, form=form)
    scheme = MPFNet(form=form, episodes=2)
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params):
        model = nnx.merge(graphdef, params, rest, copy=True)
        return scheme.episode_loss(model, model(batch), target, weight, 0, jax.random.key(0))

    value, grads = jax.jit(jax.value_and_grad(loss))(params)
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    for part in ("generic", "advanced", "weight"):
        assert max(np.abs(g).max() for g in jax.tree.leaves(grads[part])) > 0, part


def test_labels_without_weight_have_no_influence(data):
    model, batch, target, weight = prepared(data)
    hidden_from = np.flatnonzero(np.asarray(weight) == 0)
    other = np.asarray(target.labels).copy()
    other[hidden_from] = 1 - other[hidden_from]
    changed = Target("classes", labels=jnp.asarray(other), num_outputs=2)
    scheme, prototypes, output = MPFNet(), np.asarray(model.prototypes[...]), helpers.run(model, batch)
    key = jax.random.key(0)
    for loss in (scheme.episode_loss, scheme.triplet_loss):
        one, other = (helpers.run(model, output, told, weight, 3, key, by=loss) for told in (target, changed))
        assert one == other
    helpers.run(model, batch, changed, weight, by=remember)
    np.testing.assert_array_equal(model.prototypes[...], prototypes)


def test_amplified_by_hand():
    """x + kappa (x - mean of present senders); without one, or missing, as it is."""
    graph = Graph.create(np.array([1, 2, 3, 0, 3]), np.array([0, 0, 0, 1, 2]), 4)
    x = jnp.asarray([[1.0], [2.0], [6.0], [jnp.nan]])
    present = jnp.asarray([True, True, True, False])
    close(amplified(x, present, graph, 2.0), [[1 + 2 * (1 - 4)], [2 + 2 * (2 - 1)], [6], [0]])
    batch = Batch({"a": x}, present[:, None], graph)
    assert MPFNet(kappa=0.0).amplify(batch, jax.random.key(0)) is batch
    with pytest.raises(ValueError, match="kappa=0"):
        MPFNet().amplify(Batch({"a": x}, present[:, None], None), jax.random.key(0))


def test_stages_share_the_epochs():
    assert [s.epochs for s in MPFNet().stages(150)] == [60, 80, 10]
    assert [s.epochs for s in MPFNet().stages(20)] == [8, 11, 1]
    (only,) = MPFNet(shares=(0, 0, 1)).stages(20)  # without progressive training
    assert only.epochs == 20 and only.trains == ()
    assert [s.rate for s in MPFNet(rates=(1.0, 0.1, 5.0)).stages(150)] == [1.0, 0.1, 5.0]
    with pytest.raises(ValueError, match="4 epochs"):
        MPFNet().stages(4)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(form="paralel"),
        dict(gamma=-1.0),
        dict(shots=0),
        dict(ways=1),
        dict(episodes=0),
        dict(shares=(1, 1, 0)),
        dict(rates=(1.0,)),
    ],
)
def test_options_out_of_range(wrong):
    with pytest.raises(ValueError, match="mpfnet"):
        MPFNet(**wrong)


def test_placements_and_targets_it_cannot_have(data):
    with pytest.raises(ValueError, match="mpfnet.*model.head='none'"):
        tiny.train(data, (0,), **CELL, model__head="none")
    with pytest.raises(ValueError, match="mpfnet.*decision"):
        tiny.train(data, (0,), **CELL, model__placement="decision", model__fusion__name="late_logits")
    with pytest.raises(ValueError, match="mpfnet.*values"):
        MPFNet().build(None, {}, Target("values"), jax.random.key(0))


class Borders:
    """Hooks that keep what stands at every border."""

    def __init__(self):
        self.seen = []

    def restore(self, state):
        return None

    def at_border(self, state, history):
        def part(tree):
            return {k: [np.asarray(a) for a in jax.tree.leaves(v)] for k, v in tree.items()}

        self.seen.append((part(state.params.tree), part(state.best_params.tree)))


def run(data, seeds, **options):
    borders = Borders()
    return tiny.train(data, seeds, borders, **CELL, scheme__options={**SHARES, **options}), borders.seen


@pytest.fixture(scope="module")
def parallel(data):
    return run(data, (0, 1))


@pytest.mark.parametrize("form", ["parallel", "cascaded"])
def test_three_stages(data, form, parallel):
    """f_G moves in stages 1 and 3, f_A in 2 and 3, the linear map in 3; what is kept predicts without labels."""
    trained, seen = parallel if form == "parallel" else run(data, (0, 1), form=form)
    (one, best_one), (two, best_two), (three, _) = seen

    def same(a, b):
        return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))

    assert same(two["generic"], best_one["generic"]) and not same(three["generic"], best_two["generic"])
    assert same(one["advanced"], best_one["advanced"]) and not same(two["advanced"], one["advanced"])
    assert same(two["weight"], one["weight"]) and not same(three["weight"], two["weight"])
    assert all(h.shape == (2, 60) and np.isfinite(h).all() for h in trained.history.values())
    _, batch, *_ = prepared(data)
    params, rest = (jax.tree.map(lambda a: a[0], tree) for tree in (trained.params, trained.rest))
    kept = nnx.merge(trained.graphdef, params, rest)
    close(said(kept, batch), trained.prediction[0])


def test_a_seed_alone_is_that_seed_among_others(data, parallel):
    """Two programs: how the tests compile, they may differ in the last bit."""
    both, (alone, _) = parallel[0], run(data, (1,))
    np.testing.assert_allclose(alone.prediction[0], both.prediction[1], rtol=1e-6)
    np.testing.assert_allclose(alone.history["train_loss"][0], both.history["train_loss"][1], rtol=1e-6)


def test_it_learns(data, parallel):
    """Far above chance on rows that neither trained nor selected."""
    trained, _ = parallel
    accuracy = [
        np.mean(trained.prediction[i][rows].argmax(-1) == data.target.labels[rows])
        for i in range(2)
        for rows in [data.split(i).test]
    ]
    assert np.mean(accuracy) > 0.7
