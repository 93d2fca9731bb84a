"""Tuning: what is chosen, on which rows and seeds, and that interrupted trials are neither lost nor counted twice."""

import contextlib
import dataclasses
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fusion_jax import study
from fusion_jax.data import load, splits
from fusion_jax.data.base import Split
from fusion_jax.folders import Damaged
from fusion_jax.results import mixture, report, tables
from fusion_jax.results.lock import holding
from fusion_jax.results.recorded import scores
from fusion_jax.results.store import Store
from fusion_jax.run.engines.base import Job, run_job
from fusion_jax.run.model import train_model
from fusion_jax.run.sweep import run
from fusion_jax.run.tuning import FILE, Tried, batches, open_study, try_out, tuned, values_of
from fusion_jax.study import tuning
from fusion_jax.training.compilation import own_settings
from tests import tiny

optuna = pytest.importorskip("optuna", reason="the extra [tune]")
pytestmark = pytest.mark.xdist_group("tuning")
RANGES = {"control.options.alpha": (0.01, 0.99, "linear"), "control.options.rounds": (1, 40, "int")}
MODEL = {"optimizer.learning_rate": (1e-2, 1e30), "model.rate": (0.0, 0.3)}


@pytest.fixture(scope="module")
def data():
    return tiny.dataset()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr("fusion_jax.run.tuning.BATCH", 3)


def to_tune(space=RANGES, trials=5, **changes):
    """A cell that is to be tuned: label propagation, which takes no time, unless it is said otherwise."""
    more = dict(seeds=1) | {k: changes.pop(k) for k in ("sampler", "seeds", "draw") if k in changes}
    config = tiny.config(**(changes or dict(control__name="label_propagation")))
    (cell,) = study.expand(config, None, tune=tuning.tune(space, trials=trials, **more))
    return cell


def fixed(data, labels=None):
    """The data with one split for all seeds, and other labels."""
    rows = np.random.default_rng(0).permutation(data.num_nodes)
    part = Split(*(np.sort(r) for r in np.split(rows, (20, 40))))
    target = data.target if labels is None else dataclasses.replace(data.target, fields={"labels": labels})
    return dataclasses.replace(data, target=target, splits=splits.fixed(part.train, part.val, part.test, "one"))


def tried(cell):
    return [(line["values"], line["by_seed"]) for line in cell.tuned["tried"]]


def test_the_best_mean_of_the_validation_rows_is_chosen_on_seeds_that_no_cell_has(data, tmp_path):
    asked = to_tune(seeds=3)
    found = tuned(asked, Store(tmp_path, create=True), data)
    lines = found.tuned["tried"]
    assert [line["number"] for line in lines] == list(range(5)) and found.tuned["trials"] == 5
    for line in lines:
        assert set(line["by_seed"]) == {"10000", "10001", "10002"}
        assert line["score"] == np.mean(list(line["by_seed"].values()))
        value = line["values"]["control.options.alpha"]
        assert 0.01 <= value <= 0.99 and value == float(f"{value:.3g}")
        assert 1 <= line["values"]["control.options.rounds"] <= 40
    best = max(lines, key=lambda line: (line["score"], -line["tie"]))
    assert len({line["score"] for line in lines}) > 2 and best["values"] == found.tuned["chosen"]
    options = {k.rpartition(".")[2]: v for k, v in best["values"].items()}
    by_hand = tiny.cell(control__name="label_propagation", control__options=options)
    assert found.identity(data) == by_hand.identity(data) != asked.identity(data)
    assert found.label == "label_propagation (tuned, 5 trials)" and found.tuning is None and found.seeds == 2
    own = [data.split(seed) for seed in range(10)]
    assert not any(np.array_equal(data.split(s).train, split.train) for s in found.tuned["seeds"] for split in own)


RATES = (0.0, 0.1, 0.2, 0.3)


def choose(monkeypatch, folder, data, *scores):
    """A grid of four dropout rates whose trials have these (score, tie) or errors: the cell, storage, last report."""
    monkeypatch.setattr("fusion_jax.run.tuning.BATCH", 4)
    given = [Tried({}, one) if isinstance(one, str) else Tried({10_000: one}) for one in scores]
    monkeypatch.setattr("fusion_jax.run.tuning.try_out", lambda *told: given)
    config, heard, store = tiny.config(data__name=data.name, data__options={}), [], Store(folder, create=True)
    (asked,) = study.expand(config, None, tune=tuning.tune({"model.rate": RATES}, sampler="grid", seeds=1))
    found = tuned(asked, store, data, heard.append)
    return found.tuned["chosen"]["model.rate"], open_study(store, asked.identity(data)).trials, heard[-1]


def test_where_less_is_better_the_least_is_chosen_and_of_equal_ones_the_first(monkeypatch, tmp_path):
    data, scores = load("synthetic_values", nodes=40, dim=2), (0.5, 0.3, 0.3, 0.9)
    rate, trials, last = choose(monkeypatch, tmp_path, data, *((score, None) for score in scores))
    assert rate == RATES[1] and [trial.value for trial in trials] == [-0.5, -0.3, -0.3, -0.9]
    assert last.best == ("rmse", 0.3)


@pytest.mark.parametrize(
    ("scores", "place"),
    [
        (((0.5, 1.0), (0.7, 0.9), (0.7, 0.6), (0.7, 0.8)), 2),  # of equal accuracies the least log-loss
        (((0.5, 0.1), (0.7, 0.9), (0.7, 0.6), (0.7, 0.6)), 2),  # of equal ones of both the first
        (((0.5, 0.1), (0.5, 0.1), (0.5, 0.1), (0.5, 0.1)), 0),
        (((0.5, 0.1), "seed 10000 diverged", (0.6, 0.1), "seed 10000 diverged"), 2),
    ],
)
def test_of_equal_scores_the_other_metric_decides_then_who_came_first(monkeypatch, tmp_path, data, scores, place):
    rate, trials, last = choose(monkeypatch, tmp_path, data, *scores)
    assert rate == RATES[place]
    assert [trial.value for trial in trials] == [None if isinstance(one, str) else one[0] for one in scores]
    assert last.best == ("accuracy", max(one[0] for one in scores if not isinstance(one, str)))


def test_it_is_told_how_far_it_is(data, tmp_path):
    asked, heard, again = to_tune(), [], []
    found = tuned(asked, Store(tmp_path, create=True), data, heard.append)
    assert [(p.identity, p.cell, p.done, p.trials) for p in heard] == [
        (asked.identity(data), asked, n, 5) for n in (0, 3, 5)
    ]
    scores = [line["score"] for line in found.tuned["tried"]]
    assert [p.best for p in heard] == [None, ("accuracy", max(scores[:3])), ("accuracy", max(scores))]
    tuned(asked, Store(tmp_path), data, again.append)
    assert {(p.done, p.best) for p in again} == {(5, heard[-1].best)}, "what was tried before counts"


def test_data_that_state_the_splits_of_final_seeds_only_cannot_be_tuned_on_and_say_what_to_do(data, tmp_path):
    def stated(seed):
        if seed > 9:
            raise ValueError(f"split.csv states the splits of seeds 0 to 9, none of seed {seed}")
        return data.split(seed)

    given = dataclasses.replace(data, splits=dataclasses.replace(data.splits, draw=stated))
    store, cell = Store(tmp_path, create=True), to_tune(seeds=2)
    said = r"label_propagation .*: it is tuned on seeds of its own, 10000, 10001, .* and split.csv states .*; state one"
    with pytest.raises(ValueError, match=said):
        run([cell], store, "here", datasets={"synthetic": given})
    assert not (tmp_path / "study.json").exists()
    one = to_tune(control__name="label_propagation", per_seed=("init", "dropout"))
    assert run([one], store, "here", datasets={"synthetic": given}) == 0, "one split for all seeds"


def test_test_labels_have_no_part_in_the_choice(data, tmp_path):
    """Where splits are fixed no tuning seed sees a test row: with other labels there every score is the same."""
    asked, plain = to_tune(), fixed(data)
    test, labels = plain.split(0).test, plain.target.labels.copy()
    labels[test] = 1 - labels[test]
    other = fixed(data, labels)
    assert plain.fingerprint != other.fingerprint
    found = [tuned(asked, Store(tmp_path / name, create=True), d) for name, d in (("a", plain), ("b", other))]
    assert tried(found[0]) == tried(found[1]) and found[0].tuned["chosen"] == found[1].tuned["chosen"]
    labels = plain.target.labels.copy()
    labels[plain.split(0).val] = 1 - labels[plain.split(0).val]
    assert tried(tuned(asked, Store(tmp_path / "c", create=True), fixed(data, labels))) != tried(found[0])


def test_the_same_draw_gives_the_same_trials_and_another_one_others(data, tmp_path):
    def run_once(name, **changes):
        return tried(tuned(to_tune(**changes), Store(tmp_path / name, create=True), data))

    first, random = run_once("a"), run_once("b", sampler="random")
    assert run_once("c") == first and run_once("d", draw=1, trials=1)[0][0] != first[0][0]
    assert random[:3] == first[:3] and random[3:] != first[3:]  # from then on scores are looked at


@pytest.mark.parametrize("at", [0, 1, 3, 4])
def test_what_was_interrupted_goes_on_and_chooses_what_it_would_have_chosen(data, tmp_path, monkeypatch, at):
    """Interrupted when so many trials have been told, of 5 in batches of 3 and 2; a trial is told once."""
    asked, told = to_tune(), []
    expected = tuned(asked, Store(tmp_path / "whole", create=True), data)
    real = optuna.study.Study.tell

    def tell(self, trial, *args, **more):
        if len(told) == at:
            raise KeyboardInterrupt
        told.append(trial.number)
        return real(self, trial, *args, **more)

    store = Store(tmp_path / "cut", create=True)
    monkeypatch.setattr(optuna.study.Study, "tell", tell)
    with pytest.raises(KeyboardInterrupt):
        tuned(asked, store, data)
    at = -1
    found = tuned(asked, store, data)
    assert told == list(range(5)) and found.tuned == expected.tuned
    assert tuned(asked, store, data).tuned == expected.tuned and len(told) == 5
    assert len(open_study(store, asked.identity(data)).trials) == 5


def test_a_grid_tries_every_point_once(data, tmp_path):
    space = {"control.options.alpha": (0.1, 0.5, 0.9), "control.options.rounds": (1, 9)}
    found = tuned(to_tune(space, 6, sampler="grid"), Store(tmp_path, create=True), data)
    points = [line["values"] for line in found.tuned["tried"]]
    assert points == tuning.grid(space)


def test_batches_are_few_and_alike(monkeypatch):
    monkeypatch.setattr("fusion_jax.run.tuning.BATCH", 8)
    assert [list(map(len, batches(n))) for n in (1, 8, 11, 16, 20)] == [[1], [8], [6, 5], [8, 8], [7, 7, 6]]
    assert [n for batch in batches(20) for n in batch] == list(range(20))


def test_equal_plans_are_tried_once(data, monkeypatch):
    fitted = []
    plan = tiny.cell(control__name="label_propagation").plan
    other = tiny.cell(control__name="label_propagation", control__options={"alpha": 0.1}).plan
    real = __import__("fusion_jax.run.tuning", fromlist=["fit_control"]).fit_control
    monkeypatch.setattr("fusion_jax.run.tuning.fit_control", lambda p, *a: fitted.append(p) or real(p, *a))
    found = try_out([plan, other, plan], data, (10_000,), ())
    assert fitted == [plan, other] and found[0] == found[2] != found[1]


def test_numbers_are_tried_as_they_are_shown():
    own = tuning.tune({"model.rate": (0.1, 0.31234, "linear"), "model.dim": (4, 8)})
    found = values_of(own, {"model.rate": 0.31233999, "model.dim": 1})
    assert found == {"model.rate": 0.312, "model.dim": 8}
    assert values_of(own, {"model.rate": 0.10004, "model.dim": 0})["model.rate"] == 0.1


@pytest.fixture(scope="module")
def stored(tmp_path_factory, data):
    """A cell that has been tuned by two trials, and what its storage holds."""
    folder, asked = tmp_path_factory.mktemp("stored"), to_tune(trials=2)
    tuned(asked, Store(folder, create=True), data)
    return asked, (folder / FILE).read_bytes()


ATTRIBUTES = "update trial_user_attributes set value_json="


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("file", r"no trials can be read or written there \(.*not a database\)"),
        ("half", r"no trials can be read or written there \(.*malformed\)"),
        (ATTRIBUTES + "'{'", r"no trials can be read or written there \(Expecting property name"),
        (ATTRIBUTES + "'\"[1]\"'", r"trial 0: no trials can be read or written there \(TypeError"),
        ("delete from trial_user_attributes", r"trial 0: .* \(KeyError: 'validation'\)"),
        ("delete from trial_params", r"trial 0: .* \(KeyError: 'control.options.alpha'\)"),
        ("update alembic_version set version_num='v99'", r"no trials .* \(The runtime optuna version"),
    ],
)
def test_a_storage_that_is_damaged_is_named(stored, data, tmp_path, damage, said):
    asked, content = stored
    file = tmp_path / FILE
    file.write_bytes({"file": b"?" * 5000, "half": content[: len(content) // 2]}.get(damage, content))
    if " " in damage:
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute(damage)
            connection.commit()
    with pytest.raises(Damaged, match=f"{FILE}.*{said}.*; to tune again move it"):
        tuned(asked, Store(tmp_path, create=True), data)


def test_object_storage_is_refused_by_name(data):
    store = Store("gs://nowhere/study")
    with pytest.raises(ValueError, match="gs://nowhere/study.*expected a folder of this machine"):
        open_study(store, "x")


@pytest.fixture(scope="module")
def study_run(tmp_path_factory, data):
    """A tuned model (of four trials two diverge), a tuned control, one without options, and the model as it is."""
    store, outcomes = Store(tmp_path_factory.mktemp("tuned"), create=True), []

    def sweep(add):
        for control in ("", "label_propagation", "rbf_svm"):
            add({"control.name": control})
        add({"optimizer.learning_rate": 0.01, "model.rate": 0.0}, tune=False, label="by hand")

    space = MODEL | {"control.options.alpha": (0.2, 0.9), "control.options.rounds": (1, 9)}
    cells = study.expand(tiny.config(), sweep, tune=tuning.tune(space, sampler="random", trials=4, seeds=2, draw=1))
    failed = run(cells, store, "study.py", done=lambda outcome, problem: outcomes.append(outcome))
    return cells, store, outcomes, failed


def test_every_variant_has_a_row_that_says_its_trials_and_what_was_chosen(study_run, data):
    cells, store, outcomes, failed = study_run
    assert failed == 0, [o.trace for o in outcomes if o.result is None]
    rows = {row.label: row for row in tables.rows(store)}
    assert list(rows) == ["mean (tuned, 4 trials)", "label_propagation (tuned, 4 trials)", "rbf_svm", "by hand"]
    assert [row.trials for row in rows.values()] == [4, 4, 0, 0]
    chosen = rows["mean (tuned, 4 trials)"].chosen
    assert set(chosen) == set(MODEL) and chosen["optimizer.learning_rate"] == 0.01 and rows["by hand"].chosen == {}
    entries = store.read_study()["cells"]
    assert all(len(e["tuned"]["tried"]) == 4 for e in entries[:2]) and "tuned" not in entries[3]
    lost = [line for line in entries[0]["tuned"]["tried"] if line["error"]]
    assert all("diverged at epoch" in line["error"] and line["score"] is None for line in lost)
    assert {line["values"]["optimizer.learning_rate"] for line in lost} == {1e30}
    assert (store.root / FILE).exists() and store.finished_seeds(entries[0]["id"]) == (0, 1)


def test_a_table_says_that_its_rows_are_not_tuned_alike(study_run):
    _, store, _, _ = study_run
    note = "Rows were not tuned alike, and do not compare as variants do: 4 trials (2 rows), untuned (2 rows)."
    assert note in report.write(store)
    rows = tables.rows(store)
    assert mixture.tuned_and_not(rows[:2]) == mixture.tuned_and_not(rows[2:]) == ""


def test_a_study_that_is_run_again_tunes_nothing_again(study_run, monkeypatch):
    cells, store, _, _ = study_run
    before = store.read_study()
    monkeypatch.setattr("fusion_jax.run.engines.base.tuned", lambda *a: pytest.fail("tuned again"))
    counts = []
    assert run(cells, store, "study.py", begin=lambda *n: counts.append(n)) == 0
    assert counts == [(4, 0)] and store.read_study()["cells"] == before["cells"]


def test_a_trial_is_its_cell_trained_alone(study_run, data):
    """To 1e-6: what is an argument here is a constant there, which the compiler rounds otherwise in places."""
    cells, store, _, _ = study_run
    for line in store.read_study()["cells"][0]["tuned"]["tried"]:
        plan = study.with_values(cells[0], line["values"]).plan
        for seed, value in line["by_seed"].items():
            ready = tiny.prepared(plan, data, (int(seed),))
            with own_settings(), tiny.as_users_run():
                prediction = train_model(plan, data, ready).prediction[0]
            found = scores(prediction, data.target, ready.splits[0].val)
            np.testing.assert_allclose(found["accuracy"], value, rtol=1e-6)
        if line["by_seed"]:
            return
    pytest.fail("every trial diverged")


def test_a_cell_of_which_no_trial_has_a_score_fails_and_says_why(data, tmp_path):
    asked = to_tune({"optimizer.learning_rate": (1e29, 1e30)}, 2, sampler="grid", seeds=1, training__epochs=2)
    with pytest.raises(FloatingPointError, match=r"mean \(tuned, 2 trials\): no tuning trial has a score, seed 10000"):
        tuned(asked, Store(tmp_path, create=True), data)


def test_a_cell_is_tuned_by_one_process_and_what_it_chose_is_waited_for(data, tmp_path):
    store, asked = Store(tmp_path, create=True), to_tune()
    job = Job(asked.identity(data), asked, store, data, failed={})
    with holding(store.root, job.identity):
        assert run_job(job).held and not (tmp_path / FILE).exists()
    chosen = tuned(asked, store, data).identity(data)
    with ThreadPoolExecutor(1) as pool:
        with holding(store.root, chosen):
            begun = pool.submit(run_job, job)
            with pytest.raises(TimeoutError):
                begun.result(timeout=1)
            assert store.finished_seeds(chosen) == ()
        outcome = begun.result()
    assert outcome.job.identity == chosen and outcome.result["seeds"] == (0, 1)
    assert len(open_study(store, job.identity).get_trials()) == 5
    assert run_job(job).result["seeds"] == (), "another process finds it finished"
