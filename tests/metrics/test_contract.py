"""What every metric must satisfy, for every file found in the folder."""

import numpy as np
import pytest

from fusion_jax import metrics, tasks, zoo
from fusion_jax.metrics.base import Scored
from tests.tasks.targets import prediction, target

each = pytest.mark.parametrize("file", zoo.names("metric"))


def right(held) -> np.ndarray:
    """The prediction that is right in every row."""
    perfect = dict(
        classes=lambda t: 9.0 * np.eye(t.num_outputs)[t.labels],
        values=lambda t: t.values,
        survival=lambda t: -t.time[:, None],
        labels=lambda t: np.where(t.labels, 9.0, -9.0),
        links=lambda t: np.where(t.labels, 9.0, -9.0)[:, None],
    )
    return perfect[held.kind](held)


@each
def test_it_is_for_tasks_that_there_are_and_says_how_it_is_read(file):
    metric = zoo.get("metric", file)()
    assert metric.tasks and set(metric.tasks) <= set(zoo.names("task"))
    assert metric.heading and metric.table in ("main", "calibration") and isinstance(metric.higher, bool)
    assert not metric.note or metric.note.endswith(".")
    name = metric.name or file
    for task in metric.tasks:
        assert type(metrics.of(task, metric.table)[name]) is type(metric), "no other file of this task has its name"


@each
def test_those_of_one_name_are_read_alike(file):
    metric = zoo.get("metric", file)()
    other = metrics.named(metric.name or file)
    for word in ("heading", "higher", "digits", "table", "rank"):
        assert getattr(metric, word) == getattr(other, word)


@each
def test_it_is_a_number_and_best_where_every_row_is_right(file):
    metric = zoo.get("metric", file)()
    sign = 1 if metric.higher else -1
    for task in metric.tasks:
        held = target(task)
        unsure = np.linspace(0.1, 0.9, len(held))
        some, best = (metric(Scored(held, z, unsure)) for z in (prediction(held), right(held)))
        if some is None:  # it does not apply to such a target
            continue
        assert isinstance(some, float) and np.isfinite(some) and sign * best > sign * some


@each
def test_its_influence_is_of_every_row_and_follows_the_rows(file):
    metric = zoo.get("metric", file)()
    for task in metric.tasks:
        held, order = target(task), np.random.default_rng(1).permutation(len(target(task)))
        psi = metric.influence(Scored(held, prediction(held)))
        if psi is not None:
            moved = Scored(
                type(held)(
                    held.kind,
                    num_outputs=held.num_outputs,
                    level=held.level,
                    fields={k: v[order] for k, v in held.fields.items()},
                ),
                prediction(held)[order],
            )
            np.testing.assert_allclose(metric.influence(moved), psi[order], atol=1e-12)


def test_names_of_several_targets_are_read_by_their_last_part():
    assert metrics.heading("colour: macro_f1") == "colour: macro F1" and metrics.sign("size: rmse") == -1
    names = ["size: r2", "colour: auc", "size: rmse", "colour: accuracy", "colour: log_loss", "unknown"]
    assert metrics.shown(names, "main") == ["size: rmse", "size: r2", "colour: accuracy", "colour: auc"]
    assert metrics.shown(names, "calibration") == ["colour: log_loss"]


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"no metric named 'acuracy' \(did you mean 'accuracy'\?\)"):
        metrics.named("acuracy")


def test_a_tie_is_recorded_behind_the_main_table():
    assert list(metrics.of("classes")) == ["accuracy", "f1", "macro_f1", "weighted_f1", "auc", "log_loss"]
    assert tasks.of("classes").tie == "log_loss" and "log_loss" in metrics.of("classes", "calibration")
