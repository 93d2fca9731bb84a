"""What every task must satisfy, for every file found in the folder."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from etils import epath

from fusion_jax import metrics, tasks, zoo
from fusion_jax.data.base import arrays_of
from fusion_jax.metrics.base import Scored
from fusion_jax.records import EVALUATION, Output, Target
from fusion_jax.results.recorded import at
from fusion_jax.results.store import Store, write_parquet
from tests.tasks.targets import ROWS, TARGETS, dataset, prediction, target

each = pytest.mark.parametrize("kind", zoo.names("task"))
SEEN = np.arange(ROWS) < 70


def same(a: Target, b: Target) -> bool:
    left, right = dict(arrays_of(a)), dict(arrays_of(b))
    return list(left) == list(right) and all(np.array_equal(left[k], right[k]) for k in left)


def output(z) -> Output:
    mask = jnp.ones((ROWS, 2), bool)
    return Output(jnp.asarray(z), None, jnp.zeros((ROWS, 2, 4)), jnp.zeros((ROWS, 4)), mask)


def learned(held: Target) -> Target:
    """As a model learns it, on the device."""
    task = tasks.of(held)
    return jax.tree.map(jnp.asarray, task.learned(held, task.units(held, np.flatnonzero(SEEN))))


def test_there_is_a_target_of_every_task():
    assert list(TARGETS) and sorted(TARGETS) == zoo.names("task")


@each
def test_what_is_converted_is_converted(kind):
    held = target(kind)
    again = tasks.of(held).convert(held, "here")
    assert same(again, held)
    assert [a.dtype for _, a in arrays_of(again)] == [a.dtype for _, a in arrays_of(held)]
    assert (held.kind, held.level) == (again.kind, again.level) and held.num_outputs == again.num_outputs
    assert all(isinstance(array, np.ndarray) for _, array in arrays_of(held))


@each
def test_a_target_is_a_tree_of_its_fields(kind):
    held = target(kind)
    moved = jax.tree.map(lambda a: a, held)
    assert same(moved, held) and moved.fields.keys() == held.fields.keys() and moved.words == held.words
    name = next(iter(held.fields))
    assert getattr(held, name) is held.fields[name] and len(held) == ROWS
    with pytest.raises(AttributeError, match=f"a target of '{kind}' has no field 'absent'; its fields: {name}"):
        _ = held.absent


@each
def test_a_field_too_many_and_one_too_few_are_named(kind):
    held = target(kind)
    first = next(iter(held.fields))
    with pytest.raises(ValueError, match=r"here\.absent: .*expected"):
        tasks.of(held).convert(Target(kind, fields={**held.fields, "absent": np.zeros(3)}, level=held.level), "here")
    others = {name: value for name, value in held.fields.items() if name != first}
    if kind != "several":  # which has whatever it is given
        with pytest.raises(ValueError, match=rf"here\.{first}: None; expected an array \(the kind is '{kind}'\)"):
            tasks.of(held).convert(Target(kind, fields=others, num_outputs=held.num_outputs), "here")


@each
def test_what_is_hidden_cannot_be_told(kind):
    """Rows that are not seen are the same whatever they hold (pairs of nodes, which are given, aside); others stay."""
    task, (a, b) = tasks.of(kind), (target(kind, seed) for seed in range(2))
    for hide in (SEEN, jnp.asarray(SEEN)):
        hidden = [jax.tree.map(np.asarray, task.hide_unseen(t, hide)) for t in (a, b)]
        for (name, before), (_, after), (_, other) in zip(*map(arrays_of, (a, *hidden)), strict=True):
            assert after.dtype == before.dtype
            np.testing.assert_array_equal(after[SEEN], before[SEEN])
            if name != "pairs":
                np.testing.assert_array_equal(after[~SEEN], other[~SEEN], err_msg=name)


@each
def test_what_is_stored_comes_back(kind, tmp_path):
    """Through the columns of a table in a file, with nothing but what a cell keeps beside it."""
    held = target(kind)
    task = tasks.of(held)
    columns = {**task.columns(held), "prediction": list(np.asarray(prediction(held), task.dtype))}
    write_parquet(epath.Path(tmp_path / "predictions.parquet"), pd.DataFrame(columns))
    (read,) = _columns(tmp_path)
    back = tasks.restored(task.about(held), read)
    assert same(back, held) and (back.kind, back.level, back.num_outputs) == (kind, held.level, held.num_outputs)
    np.testing.assert_array_equal(read["prediction"], prediction(held))


def _columns(folder):
    """As a store reads them, of a part that no record names."""

    class Bare(Store):
        def _read(self, identity, name):
            path = epath.Path(folder) / name
            yield path, path.read_bytes()

    return list(Bare(folder).columns("", "predictions"))


@each
def test_its_loss_is_finite_and_reads_no_row_without_weight(kind):
    held = learned(target(kind))
    loss = zoo.get("loss", tasks.of(kind).loss)

    def value(z, held):
        return loss(output(z), held, jnp.asarray(SEEN, jnp.float32), context=EVALUATION)

    z = jnp.asarray(prediction(held))
    found, slope = jax.value_and_grad(value)(z, held)
    assert found.shape == () and np.isfinite(found) and np.isfinite(slope).all()
    assert np.asarray(slope)[SEEN].any() and not np.asarray(slope)[~SEEN].any()
    other = tasks.of(held).hide_unseen(held, jnp.asarray(SEEN))
    assert value(jnp.where(SEEN[:, None], z, 7), other) == found


@each
def test_a_loss_of_another_task_is_refused(kind):
    held = learned(target(kind))
    for name in zoo.names("loss"):
        known = zoo.info("loss", name).tasks
        if known and kind not in known:
            with pytest.raises(ValueError, match=f"loss '{name}' .*{kind}"):
                zoo.get("loss", name)(output(prediction(held)), held, jnp.ones(ROWS), context=EVALUATION)


@each
def test_its_score_is_larger_for_the_lower_loss(kind):
    """Along the gradient of the loss; a score that is no number would never be kept."""
    held, task = learned(target(kind)), tasks.of(kind)
    loss = zoo.get("loss", task.loss)

    def of(output, target, weight, context):
        return loss(output, target, weight, context=context)

    weight, z = jnp.ones(ROWS), jnp.asarray(prediction(held), jnp.float64)
    with jax.numpy_dtype_promotion("standard"):  # as in training
        better = z - ROWS / 4 * jax.grad(lambda z: of(output(z), held, weight, EVALUATION))(z)
        scores = [task.score(of)(output(p), held, weight, EVALUATION) for p in (z, better)]
    assert bool(scores[1] > scores[0]) and all(np.isfinite(score) for score in scores)


@each
def test_what_is_learned_is_undone(kind):
    held, task = target(kind), tasks.of(kind)
    units = task.units(held, np.flatnonzero(SEEN))
    if units is None:
        assert task.learned(held, None) is held
        return
    z = prediction(held)
    assert units.undo(z).shape == z.shape and np.isfinite(units.undo(z)).all()
    for (name, part, columns), (_, now, _) in zip(task.parts(held), task.parts(task.learned(held, units)), strict=True):
        if part.kind == "values":
            full = z.astype(float).copy()
            full[:, columns] = now.values
            last = 1e-7 * np.abs(part.values).max()  # what is learned is float32
            np.testing.assert_allclose(units.undo(full)[:, columns], part.values, rtol=1e-6, atol=last, err_msg=name)
        else:
            np.testing.assert_array_equal(units.undo(z)[:, columns], z[:, columns])


@each
def test_its_metrics_are_there_and_its_primary_is_the_first_of_them(kind):
    held, task = target(kind), tasks.of(kind)
    found = metrics.scores([Scored(held, prediction(held))])
    first = task.primary_of(task.about(held))
    assert next(iter(found)) == metrics.shown(found, "main")[0] == first and np.isfinite(found[first]).all()
    assert not task.tie or task.tie in found
    psi = metrics.influences([Scored(held, prediction(held))])
    assert psi.keys() <= found.keys()
    for name, each_row in psi.items():
        assert each_row.shape == (1, ROWS)
        np.testing.assert_allclose(each_row.sum(), 0, atol=1e-8, err_msg=name)


@each
def test_its_parts_are_the_columns_of_a_prediction(kind):
    held = target(kind)
    columns = [np.arange(held.num_outputs)[where] for _, _, where in tasks.of(kind).parts(held)]
    np.testing.assert_array_equal(np.concatenate(columns), np.arange(held.num_outputs))
    assert all(
        len(own) == part.num_outputs for own, (_, part, _) in zip(columns, tasks.of(kind).parts(held), strict=True)
    )


@each
def test_its_readouts_are_of_their_level(kind):
    for level, readout in tasks.of(kind).readouts.items():
        assert zoo.get("readout", readout).level == level


@each
def test_rows_are_scored_by_what_stands_in_them(kind):
    """A metric of some rows does not look at others, nor at the order."""
    held, z = target(kind), prediction(target(kind)).astype(float)
    rows = np.flatnonzero(SEEN)
    shuffled = np.random.default_rng(0).permutation(rows)
    found = [metrics.scores([Scored(at(held, r), z[r])]) for r in (rows, shuffled)]
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        np.testing.assert_allclose(value, found[1][name], rtol=1e-12, err_msg=name)


@each
def test_a_level_it_has_not_is_refused(kind):
    wrong = "node" if tasks.of(kind).readouts.keys() == {"link"} else "edge"
    held = target(kind)
    changed = Target(kind, fields=held.fields, num_outputs=held.num_outputs, level=wrong)
    with pytest.raises(ValueError, match=rf"target\.level: '{wrong}'; expected "):
        dataset(kind, target=changed)
