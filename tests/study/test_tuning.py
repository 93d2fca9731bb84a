"""What a study says of its tuning: spaces and budgets, checked before anything runs, and what each cell takes of it."""

import re

import numpy as np
import pytest

from fusion_jax import study
from fusion_jax.study import tuning
from tests import tiny

RATE = {"optimizer.learning_rate": (1e-3, 1e-1, "log")}
ALPHA = {"control.options.alpha": (0.5, 0.9)}


def expand(*cells, tune=None, **changes):
    """The cells of a study that adds these: overrides, or (overrides, keywords of add)."""

    def sweep(add):
        for cell in cells:
            overrides, more = cell if isinstance(cell, tuple) else (cell, {})
            add(overrides, **more)

    return study.expand(tiny.config(**changes), sweep, tune=tune)


def test_the_budget_is_one_for_all_cells_and_each_takes_the_keys_that_are_its_own():
    gmu, propagation, svm, plain = (
        {"model.fusion.name": "gmu"},
        {"control.name": "label_propagation"},
        {"control.name": "rbf_svm"},
        ({"model.fusion.name": "mean"}, dict(tune=False)),
    )
    cells = expand(gmu, propagation, svm, plain, tune=tuning.tune({**RATE, **ALPHA}, trials=6))
    assert [c.label for c in cells] == [
        "gmu (tuned, 6 trials)",
        "label_propagation (tuned, 6 trials)",
        "rbf_svm",
        "mean",
    ]
    assert [None if c.tuning is None else dict(c.tuning.space) for c in cells] == [RATE, ALPHA, None, None]
    assert all(c.tuning.trials == 6 and min(c.tuning.seeds) >= 10_000 for c in cells[:2])
    assert expand(*[(gmu, dict(tune=RATE, trials=6))])[0] == cells[0]
    assert tuning.untuned(cells[0].label) == "gmu" and tuning.untuned("gmu (2 of 3 seeds)") == "gmu (2 of 3 seeds)"


def test_a_study_may_name_a_function_and_the_default_is_in_one_place():
    (cell,) = expand({}, tune=tuning.tune)
    assert dict(cell.tuning.space) == tuning.SPACE and cell.tuning.trials == tuning.TRIALS
    assert cell.tuning.seeds == (10_000, 10_001, 10_002)
    (cell,) = study.expand(tiny.config(), None, tune=lambda: RATE)
    assert dict(cell.tuning.space) == RATE and cell.label.endswith(f"(tuned, {tuning.TRIALS} trials)")


def test_what_is_still_to_be_tuned_has_a_name_of_its_own_and_no_other_cell_another_than_before():
    plain, own = tiny.cell(), expand({}, tune=RATE)[0]
    names = {plain.identity(""), own.identity("")}
    for other in (tuning.tune(RATE, trials=2), tuning.tune(RATE, draw=1), {"model.rate": (0.0, 0.1)}):
        names.add(expand({}, tune=other)[0].identity(""))
    assert len(names) == 5
    both = expand(({}, dict(tune=RATE)), {})
    assert [c.tuning is None for c in both] == [False, True] and both[1].identity("") == plain.identity("")


def test_chosen_values_make_the_cell_that_they_make_by_hand():
    cell = study.with_values(tiny.cell(), {"optimizer.learning_rate": 0.5, "model.fusion.name": "mean"})
    assert cell.identity("") == tiny.cell(optimizer__learning_rate=0.5).identity("")
    assert tiny.cell().config["optimizer"]["learning_rate"] != 0.5
    extra = study.with_values(tiny.cell(), {"loss.extra.triplet": 0.5})
    assert extra.identity("") == tiny.cell(loss__extra={"triplet": 0.5}).identity("")


def test_a_grid_is_tried_as_a_whole():
    space = {"model.rate": (0.0, 0.2), "model.dim": (4, 8, 16)}
    found = tuning.tune(space, sampler="grid")
    assert found.trials == 6 and len(tuning.grid(found.space)) == 6
    assert tuning.grid(found.space)[1] == {"model.rate": 0.0, "model.dim": 8}
    with pytest.raises(ValueError, match="trials=5, but the grid has 6 points"):
        tuning.tune(space, sampler="grid", trials=5)
    with pytest.raises(ValueError, match=r"'optimizer.learning_rate' is the range .* a grid needs values"):
        tuning.tune(RATE, sampler="grid")
    with pytest.raises(ValueError, match="of 4 trials a grid over model.rate has 2 points; every variant gets as many"):
        expand({}, tune=tuning.tune({"model.rate": (0.0, 0.2), **ALPHA}, sampler="grid"))


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({}, "the space is empty"),
        ({"model.rate": ()}, "'model.rate' is .*expected values, or"),
        ({"model.rate": "log"}, "'model.rate' is 'log', expected values"),
        ({"model.rate": 0.2}, "'model.rate' is 0.2, expected values"),
        ({"model.rate": (0.2, 0.1, "linear")}, "expected low < high"),
        ({"optimizer.learning_rate": (0.0, 0.1, "log")}, "expected low < high, above 0"),
        ({"model.dim": (4, 8.5, "int")}, "expected low < high, whole numbers"),
        ({"optimizer.learning_rate": (0.1, 0.2, "lgo")}, "did you mean 'log'"),
        ({"seeds": (1, 2)}, "'seeds' is what is asked"),
        ({"data.name": ("digits", "synthetic")}, "'data.name' is what is asked"),
        ({"model.fusion.name": ("gmu", "mean")}, "'model.fusion.name' names a mechanism"),
        (3, "the space is 3, expected {key of the config: values}"),
        ([("model.rate", (0.1, 0.2))], "the space is .*, expected {key of the config: values}"),
        ({3: (0.1, 0.2)}, "the space has the key 3, expected a key of the config"),
        ({"model.rate": ("a", "b", "log")}, "'model.rate' is the range .*, expected two numbers before 'log'"),
        ({"model.rate": (0.1, 0.1)}, "'model.rate' is .*, which has 0.1 twice"),
    ],
)
def test_a_space_that_cannot_be_is_refused(space, said):
    with pytest.raises(ValueError, match=f"tune: .*{said}"):
        tuning.tune(space)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("trials", value) for value in (0, 1.5, float("inf"), float("nan"), "4", True, 10_001)),
        *(("seeds", value) for value in (0, 1e9, -float("inf"))),
        *(("draw", value) for value in (-1, "x", 2**32)),
        ("sampler", "tpee"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(name, value):
    with pytest.raises(ValueError, match=re.escape(f"tune: {name}={value!r}")):
        tuning.tune(RATE, **{name: value})


def test_a_number_of_trials_beside_a_tuning_is_checked_too():
    assert tuning.as_tuning(tuning.tune(RATE), np.int64(3)).trials == 3
    with pytest.raises(ValueError, match="tune: trials=inf, expected a whole number"):
        tuning.as_tuning(tuning.tune(RATE), float("inf"))


@pytest.mark.parametrize(
    ("space", "changes", "said"),
    [
        ({"optimizer.learning_rat": (0.1, 0.2)}, {}, "no config key 'optimizer.learning_rat'.*learning_rate"),
        ({"model.fusion.options.hiden": (4, 8)}, dict(model__fusion__name="concat_mlp"), "hiden.*hidden"),
        ({"model.rate": (0.0, 1.0)}, {}, r"'model.rate' is 1.0, expected a number in \[0, 1\)"),
        ({"model.rate": (0.0, 1.5, "linear")}, {}, "'model.rate' is 1.5"),
        (RATE, dict(protocol="paper"), "tune under protocol 'paper'"),
        (
            ALPHA,
            dict(control__name="label_propagation", control__options={"validation_labels": True}),
            "tune with validation_labels=True",
        ),
    ],
)
def test_a_space_that_does_not_fit_a_cell_is_refused_before_anything_runs(space, changes, said):
    with pytest.raises(ValueError, match=said):
        expand({}, tune=space, **changes)


def test_a_key_that_no_cell_has_is_refused():
    propagation = {"control.name": "label_propagation"}
    with pytest.raises(ValueError, match=r"no cell of the study has 'control.options.alhpa' \(did you mean '.*alpha'"):
        expand({}, propagation, tune={**RATE, "control.options.alhpa": (0.1, 0.2)})
    with pytest.raises(ValueError, match="no cell of the study has 'optimizer.learning_rate'"):
        expand((propagation, dict(tune=RATE)))


def test_variants_of_a_study_get_as_many_trials_and_seeds():
    one = ({"model.fusion.name": "gmu"}, dict(tune=RATE, trials=4))
    with pytest.raises(ValueError, match=r"other numbers of trials \(gmu 4, mean 8\)"):
        expand(one, ({}, dict(tune=RATE, trials=8)))
    with pytest.raises(ValueError, match=r"other numbers of seeds \(gmu 3, mean 2\)"):
        expand(one, ({}, dict(tune=tuning.tune(RATE, trials=4, seeds=2))))
    with pytest.raises(ValueError, match="tune is 3, expected a space"):
        expand(({}, dict(tune=3)))
