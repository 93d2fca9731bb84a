"""From data to a finished study in one call: its rows, its folder, what is refused, and what is not trained again."""

import json

import numpy as np
import pytest

import fusion_jax as fj
from fusion_jax import zoo
from fusion_jax.results.store import Store
from tests import tiny

SMALL = {
    "model.dim": 8,
    "model.layers": 1,
    "training.epochs": 4,
    "training.chunk": 2,
    "training.seed_axis": "map",
}


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


def rows(study):
    return [(row.label, row.placement) for row in study.rows]


def test_every_fusion_where_it_can_stand_beside_the_baseline_and_what_sees_less(tmp_path, capsys):
    data = tiny.dataset()
    asked = ["mean", ("gmu", {}), "late_logits"]
    study = fj.ablate(data, asked, ["before", "decision"], seeds=1, workdir=tmp_path / "r", jobs=1, config=SMALL)
    assert rows(study) == [
        ("concat_mlp", "before"),
        ("mean", "before"),
        ("gmu", "before"),
        ("concat_mlp", "decision"),
        ("mean", "decision"),
        ("gmu", "decision"),
        ("late_logits", "decision"),
        ("concat_mlp, no graph", "before (no graph)"),
        ("graph only (no features)", "before"),
        ("label_propagation", "-"),
    ]
    out = capsys.readouterr().out
    assert out.startswith(f"results: {tmp_path / 'r'}\n10 cells, 0 finished before") and "10 cells trained" in out
    assert (tmp_path / "r" / "report" / "index.html").exists()
    written = json.loads((tmp_path / "r" / "study.json").read_text())
    assert {cell["config"]["data"]["name"] for cell in written["cells"]} == {f"memory:{data.name}"}
    assert study.rows[0].data == data.name


def test_called_again_it_trains_what_is_missing_and_its_numbers_are_those_of_the_commands(tmp_path, capsys):
    data = tiny.dataset()
    keys = {key.replace(".", "__"): value for key, value in SMALL.items()}
    options = dict(workdir=tmp_path / "r", controls=False, **keys)
    values = []
    for seeds in (1, 2, 2):
        study = fj.ablate(data, "mean", "before", seeds=seeds, baseline="mean", **options)
        values.append(study.rows[0].values["accuracy"])
    assert "1 cells, 1 finished before" in capsys.readouterr().out
    np.testing.assert_array_equal(values[0], values[1][:1])
    np.testing.assert_array_equal(values[1], values[2])
    flags = [f"--config.{key}={value}" for key, value in SMALL.items()]
    flags += [f"--config.data.options.{key}={value}" for key, value in tiny.DATA.items()]
    flags += ["--config.data.name=synthetic", "--config.model.fusion.name=mean", "--config.seeds=2"]
    status, out = tiny.command("experiments.train", f"--workdir={tmp_path}/other", *flags)
    assert status == 0, out
    store = Store(tmp_path / "other")
    table = store.table(store.read_study()["cells"][0]["id"], "metrics")
    own = table[(table.part == "test") & (table.metric == "accuracy")].sort_values("seed").value
    np.testing.assert_allclose(own, values[1], rtol=1e-6)


def test_without_a_folder_the_same_data_find_theirs_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = tiny.dataset()
    options = dict(seeds=1, baseline="mean", controls=False, config=SMALL)
    study = fj.ablate(data, ["mean"], ["before"], **options)
    assert study.workdir.parent == tmp_path / "fusion_jax" / "studies" and str(study.workdir) in capsys.readouterr().out
    assert study.workdir.name == f"{data.name}-{data.fingerprint[:8]}"
    assert fj.ablate(data, ["mean"], ["before"], progress=False, **options).workdir == study.workdir
    assert capsys.readouterr().out == ""


def test_rows_that_fail_are_said_and_stop_no_other(tmp_path):
    (tmp_path / "broken.py").write_text(
        "from fusion_jax.fusion.base import Fusion\nfrom fusion_jax.records import Info\n\n\n"
        "class Broken(Fusion):\n    info = Info('Nobody')\n\n    def __init__(self, modalities, dim, *, rngs):\n"
        "        raise ZeroDivisionError('not built')\n"
    )
    asked = [str(tmp_path / "broken.py"), "mean"]
    with pytest.warns(UserWarning, match="1 of 2 rows failed: broken before synthetic: ZeroDivisionError: not built"):
        options = dict(workdir=tmp_path / "r", baseline="mean", controls=False, config=SMALL)
        study = fj.ablate(tiny.dataset(), asked, "before", seeds=1, **options)
    assert [bool(row.values) for row in study.rows] == [False, True]
    assert "ZeroDivisionError: not built" in study.table().error.iloc[0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(fusions=["gmuu"]), "no fusion named 'gmuu' .did you mean 'gmu'"),
        (dict(fusions=[("gmu", {"head": 2})]), "fusion 'gmu' has no option 'head'"),
        (dict(fusions=[]), "fusions is empty"),
        (dict(fusions=["late_logits"]), "'late_logits' can stand at decision, not at before .placements."),
        (dict(fusions=[zoo.get("fusion", "mean")]), "holds the class Mean, expected its name or file.*writefile"),
        (dict(placements=["befor"]), "no placement 'befor' .did you mean 'before'"),
        (dict(baseline="concat_mpl"), "did you mean 'concat_mlp'"),
        (dict(model__dmi=3), "no config key 'model.dmi' .did you mean 'model.dim'"),
        (dict(config={"training.epochs": 0}), "'training.epochs' is 0, expected at least 1"),
        (dict(seeds=0), "'seeds' is 0"),
        (dict(seeds=10**9), "'seeds' is 1000000000, expected at most 10000"),
        (dict(jobs=0), "jobs=0; expected a whole number, at least 1"),
        (dict(jobs=-1), "jobs=-1; expected a whole number, at least 1"),
        (dict(jobs=1.5), "jobs=1.5; expected a whole number"),
        (dict(workdir=""), "workdir=''; expected the results folder, or None"),
        (dict(data=[]), "data is empty, expected at least one data set"),
        (dict(tune={"model.rate": (0.1, 0.1)}), "'model.rate' is .*, which has 0.1 twice"),
        (dict(tune=3), "tune is 3, expected a space"),
        (dict(claims=[dict(claim="c", better="mean", than="mean, before")]), "are one row, mean, before"),
    ],
)
def test_a_mistake_is_named_before_anything_is_written(changed, message, tmp_path):
    given = dict(data=tiny.dataset(), fusions=["mean"], placements=["before"], workdir=tmp_path / "r") | changed
    with pytest.raises(ValueError, match=message):
        fj.ablate(**given)
    assert not (tmp_path / "r").exists()
