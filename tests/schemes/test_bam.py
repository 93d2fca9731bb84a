"""BAM: which part moves in which stage and what it sees, the copies of the seed, and the mixture made of them."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

from fusion_jax.schemes import bam
from fusion_jax.schemes.bam import BAM, Upcycled, blocks, only
from fusion_jax.training.trial import scaled
from tests import tiny
from tests.helpers import parameters

pytestmark = pytest.mark.xdist_group("training-bam")
CELL = {"scheme__name": "bam", "training__epochs": 60, "training__chunk": 15, "optimizer__learning_rate": 0.02}
CELL |= {"model__layer__name": "bam", "model__layer__options": dict(experts=3, heads=2)}
OPTIONS = dict(copies=2)


@pytest.fixture(scope="module")
def data():
    return tiny.dataset()


def prepared(data, layer=None, **changes):
    """A model in which every number differs from every other, and its batch."""
    layer = {"model__layer__options": dict(experts=3, heads=2) | (layer or {})}
    plan = tiny.cell(**CELL | layer | changes, scheme__options=OPTIONS).plan
    ready = tiny.prepared(plan, data, (0,))
    model, rng = tiny.model(plan, data, ready), np.random.default_rng(0)
    for variable in parameters(model).values():
        variable.set_value(jax.numpy.asarray(rng.normal(size=variable.shape), variable.dtype))
    return model, scaled(ready.batch, jax.tree.map(lambda a: a[0], ready.trials))


def values(module):
    return {name: np.asarray(variable[...]) for name, variable in parameters(module).items()}


def test_stages_share_the_epochs():
    first, *copies, last = BAM(copies=3, shares=(2, 3, 1)).stages(60)
    assert [s.epochs for s in (first, *copies, last)] == [20, 10, 10, 10, 10]
    assert [s.rate for s in (first, *copies, last)] == [1.0, 0.5, 0.5, 0.5, 0.5]
    assert [s.trains for s in (first, *copies)] == [(f"dense.{i}",) for i in range(4)]
    assert [s.begin.keywords["number"] for s in copies] == [1, 2, 3]
    assert [s.forward.keywords["number"] for s in (first, *copies)] == [0, 1, 2, 3]
    assert last.trains == ("mixture",) and last.begin is bam.mix and first.begin is None
    *_, last = BAM(copies=2, shares=(1, 1, 0)).stages(8)
    assert last.epochs == 0 and last.begin is bam.mix
    with pytest.raises(ValueError, match="scheme 'bam': 4 epochs"):
        BAM().stages(4)


@pytest.mark.parametrize("wrong", [dict(copies=0), dict(shares=(1, 1)), dict(shares=(0, 0, 0)), dict(rates=(1, 1, -1))])
def test_options_out_of_range(wrong):
    with pytest.raises(ValueError, match="scheme 'bam'"):
        BAM(**wrong)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(model__layer__name="gcn", model__layer__options={}), "layers 'bam', the model has none"),
        (dict(model__layer__options=dict(experts=2)), r"experts=\[2\]; expected copies \+ 1 = 3"),
        (dict(scheme__options=dict(copies=3)), "copies=3; the data set has 2 modalities"),
    ],
)
def test_models_it_cannot_make_a_mixture_of(data, changes, message):
    plan = tiny.cell(**CELL | dict(scheme__options=OPTIONS) | changes).plan
    with pytest.raises(ValueError, match=f"scheme 'bam'.*{message}"):
        tiny.model(plan, data, tiny.prepared(plan, data, (0,)))


def test_a_copy_sees_its_own_modality_and_the_seed_all(data):
    model, batch = prepared(data)
    first, second = batch.names
    mask = np.asarray(batch.mask)
    np.testing.assert_array_equal(only(batch, 1).mask, mask & [False, True])
    moved = [
        type(batch)({**batch.features, name: batch.features[name] + 1}, batch.mask, batch.graph, batch.names)
        for name in (first, second)
    ]
    say = nnx.jit(Upcycled.specialist, static_argnames="number")
    for number, sees in ((0, (True, True)), (1, (True, False)), (2, (False, True))):
        before = say(model, batch, number=number).prediction
        changed = [not np.array_equal(say(model, b, number=number).prediction, before) for b in moved]
        assert tuple(changed) == sees


def test_a_copy_starts_as_the_seed(data):
    model, _ = prepared(data)
    before = values(model)
    bam.branch(model, None, None, None, None, None, number=2)
    after = values(model)
    for name, value in after.items():
        source = name.replace("dense.2.", "dense.0.")
        np.testing.assert_array_equal(value, before[source])
    model.dense[2].head.bias[...] += 1
    np.testing.assert_array_equal(model.dense[0].head.bias[...], before["dense.0.head.bias"])


@pytest.mark.parametrize(
    "changes",
    [{}, dict(model__placement="after"), dict(layer=dict(attention="shared_kv")), dict(layer=dict(experts=1))],
    ids=["before", "after", "shared_kv", "plain mean"],
)
def test_the_mixture_is_made_of_the_dense_models(data, changes):
    """Experts bit by bit in order, routers as they were, all else the mean."""
    model, _ = prepared(data, **changes)
    before = values(model)
    bam.mix(model, None, None, None, None, None)
    after, copied = values(model), set()
    for name, value in after.items():
        if not name.startswith("mixture."):
            np.testing.assert_array_equal(value, before[name])
        elif "router" in name:
            np.testing.assert_array_equal(value, before[name])
            copied.add("router")
        else:
            parts = [before[name.replace("mixture", f"dense.{i}", 1)] for i in range(3)]
            if value.shape == parts[0].shape:
                np.testing.assert_allclose(value, np.mean(parts, axis=0), rtol=1e-6, atol=1e-6)
                copied.add("mean")
            else:
                np.testing.assert_array_equal(value, np.concatenate(parts, axis=-3))
                copied.add("expert")
    plain = changes.get("layer", {}).get("experts") == 1
    assert copied == ({"mean"} if plain else {"router", "mean", "expert"})


def test_a_mixture_of_alike_models_to_all_of_whose_experts_a_node_goes_is_the_seed(data):
    model, batch = prepared(data, layer=dict(k=3))
    for number in (1, 2):
        model.branch(number)
    model.mix()
    say = nnx.jit(lambda model, batch: (model(batch).prediction, model.specialist(batch, number=0).prediction))
    np.testing.assert_allclose(*say(model, batch), rtol=1e-4, atol=1e-4)  # float32: the mixture sums in another order


class Borders:
    """Hooks that keep what stands at every border."""

    def __init__(self):
        self.seen = []

    def restore(self, state):
        return None

    def at_border(self, state, history):
        def part(tree):
            found = {"mixture": tree["mixture"]} | {f"dense {i}": tree["dense"][i] for i in range(3)}
            return {k: [np.asarray(a) for a in jax.tree.leaves(v)] for k, v in found.items()}

        self.seen.append((part(state.params.tree), part(state.best_params.tree)))


def run(data, seeds):
    borders = Borders()
    return tiny.train(data, seeds, borders, **CELL, scheme__options=OPTIONS | dict(shares=(1, 2, 1))), borders.seen


@pytest.fixture(scope="module")
def both(data):
    return run(data, (0, 1))


def test_every_stage_moves_its_own_part(data, both):
    """From the best epoch of the stage before; what is kept is what predicts."""
    trained, seen = both

    def same(a, b):
        return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))

    moving = ["dense 0", "dense 1", "dense 2", "mixture"]
    for (before, best), (after, _), moves in zip(seen, seen[1:], moving[1:], strict=False):
        for part in moving:
            assert same(after[part], best[part]) == (part != moves), (moves, part)
        assert not same(before[moves], after[moves])
    _, batch = prepared(data)
    params, rest = (jax.tree.map(lambda a: a[0], tree) for tree in (trained.params, trained.rest))
    kept = nnx.merge(trained.graphdef, params, rest)
    # float32, evaluated in the program of training and line by line
    np.testing.assert_allclose(kept(batch).prediction, trained.prediction[0], rtol=1e-4, atol=1e-5)
    assert len(blocks(kept.mixture)) == 1 and len(blocks(kept)) == 4
    assert all(h.shape == (2, 60) and np.isfinite(h).all() for h in trained.history.values())


def test_a_seed_alone_is_that_seed_among_others(data, both):
    (together, _), (alone, _) = both, run(data, (1,))
    # float32 steps of two programs, as a seed alone is compiled for itself
    np.testing.assert_allclose(alone.prediction[0], together.prediction[1], rtol=1e-4, atol=1e-5)


def test_it_learns(data, both):
    """Far above chance on rows that neither trained nor selected."""
    right = functools.partial(_right, both[0], data)
    assert np.mean([right(i) for i in range(2)]) > 0.7


def _right(trained, data, i):
    rows = data.split(i).test
    return np.mean(trained.prediction[i][rows].argmax(-1) == data.target.labels[rows])
