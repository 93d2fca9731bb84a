"""Flags of the commands: what sets what, and mistakes in one line before anything is trained."""

import functools
import pathlib

import pytest

from fusion_jax.results.lock import exclusive
from fusion_jax.results.store import Store
from fusion_jax.results.tables import rows
from tests import folders, studies, tiny
from tests.studies import LP, LR, RBF, cells, run

pytestmark = pytest.mark.xdist_group("command-line")


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


@pytest.fixture
def study_file(tmp_path):
    """write(*cells): a study file of these changes of the tiny cell."""
    return functools.partial(studies.write, tmp_path)


def test_dry_run_lists_the_cells_and_touches_nothing(study_file, tmp_path):
    workdir = tmp_path / "results"
    status, out = run(study_file(LR, {"model.fusion.name": "gmu", "model.placement": "after"}), workdir, "--dry_run")
    assert status == 0 and not workdir.exists()
    lines = out.splitlines()
    assert [line.split() for line in lines] == [
        ["logistic_regression", "-", "synthetic", "seeds=2"],
        ["gmu", "after", "synthetic", "seeds=2"],
    ]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"model.dmi": 3}, "no config key 'model.dmi' (did you mean 'model.dim'?)"),
        ({"model.fusion.name": "gmuu"}, "did you mean 'gmu'"),
        ({"data.name": "syntetic", "data.options": {}}, "did you mean 'synthetic'"),
        ({"data.options": {"node": 60}}, "has no option 'node' (did you mean 'nodes'?)"),
    ],
)
def test_a_study_that_cannot_run_is_refused_before_anything_is_trained(study_file, tmp_path, cell, message):
    status, out = run(study_file(LR, cell), tmp_path / "results")
    assert status == 2 and out.startswith("error:") and message in " ".join(out.split())
    assert not list(tmp_path.glob("results/cells/*"))
    dry = run(study_file(LR, cell), tmp_path / "results", "--dry_run")
    assert dry[0] == 2 and message in " ".join(dry[1].split())


def test_data_are_looked_at_in_a_dry_run_and_what_is_wrong_with_them_ends_the_run_once(study_file, tmp_path):
    folder = str(folders.write(tmp_path / "cohort"))
    rows = [change | {"data.name": "tables", "data.options": {"folder": folder}} for change in (LR, LP)]
    status, out = run(study_file(*rows), tmp_path / "r", "--dry_run")
    assert [line.split()[2] for line in out.splitlines()[:2]] == ["cohort", "cohort"]
    assert status == 0 and out.count("data set 'cohort'") == 1 and "genes.csv: 120 rows, 120 joined by column" in out
    for row in rows:
        row["data.options"]["k"] = "many"
    for more in (["--dry_run"], []):
        status, out = run(study_file(*rows), tmp_path / "r", *more)
        assert status == 2 and out.splitlines()[-1] == "error: k='many'; expected a whole number, at least 1"
        assert not list(tmp_path.glob("r/cells/*")) and "FAILED" not in out


@pytest.mark.parametrize("module", ["experiments.sweep", "experiments.train"])
def test_a_misspelt_command_line_names_the_nearest(module, tmp_path):
    def refused(*args):
        status, out = tiny.command(module, *args, f"--workdir={tmp_path}/results")
        assert status == 2 and not (tmp_path / "results").exists()
        return out

    assert "(did you mean 'model.dim'?)" in refused("--config=configs/base.py", "--config.model.dmi=3")
    assert "(did you mean 'configs/base.py'?)" in refused("--config=configs/bse.py")
    assert "(did you mean 'quick'?)" in refused("--config=configs/base.py:quik")


def test_a_results_folder_that_cannot_be_written_is_a_clear_error(study_file, tmp_path):
    (tmp_path / "file").write_text("in the way")
    status, out = run(study_file(LR), tmp_path / "file" / "results")
    assert status == 2 and "error: cannot write results to" in out and "Traceback" not in out
    assert (tmp_path / "file").read_text() == "in the way"


def test_one_cell_by_the_train_command(study_file, tmp_path):
    file = study_file(LR)  # its sweep is not looked at
    args = (f"--config={file}", f"--workdir={tmp_path}/results", "--config.control.name=logistic_regression")
    status, out = tiny.command("experiments.train", *args)
    assert status == 0 and "logistic_regression" in out and "accuracy" in out
    store, ids = cells(tmp_path / "results")
    assert store.finished_seeds(ids["logistic_regression"]) == (0, 1)
    table = store.table(ids["logistic_regression"], "metrics")
    assert f"{table[(table.part == 'test') & (table.metric == 'accuracy')].value.mean():.4f}" in out


PLAIN = """
from fusion_jax.study import defaults

def get_config(arg=""):
    config = defaults.get_config(arg)
    config.data.name = "synthetic"
    config.seeds, config.model.dim, config.model.layers = 1, 4, 1
    config.training.epochs = config.training.chunk = 1
    return config
"""


@pytest.fixture
def plain(tmp_path):
    """A study that names no options."""
    (tmp_path / "plain.py").write_text(PLAIN)
    return f"--config={tmp_path}/plain.py"


def test_options_are_set_though_the_study_does_not_name_them(plain, tmp_path):
    options = ["--config.model.fusion.options.hidden=8", "--config.data.options.nodes=80"]
    more = ["--config.model.layer.last.norm=row", "--config.optimizer.options.b1=0.5"]
    status, out = tiny.command("experiments.train", plain, f"--workdir={tmp_path}/r", *options, *more)
    assert status == 0, out
    store, ids = cells(tmp_path / "r")
    (identity,) = ids.values()
    assert list(ids) == ["concat_mlp(hidden=8)"] and store.table(identity, "predictions").row.nunique() == 80
    config = store.config(identity)
    assert config["model"]["fusion"]["options"]["hidden"] == 8 and config["data"]["options"] == {"nodes": 80}
    assert config["model"]["layer"]["last"] == {"norm": "row"} and config["optimizer"]["options"]["b1"] == 0.5


@pytest.mark.parametrize("module", ["experiments.sweep", "experiments.train"])
@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("model.fusion.options.hiden=8", "fusion 'concat_mlp' has no option 'hiden' (did you mean 'hidden'?)"),
        ("data.options.node=80", "data set 'synthetic' has no option 'node' (did you mean 'nodes'?)"),
        ("model.fusion.option.hidden=8", "no config key 'model.fusion.option.hidden' (did you mean"),
        ("model.fusion.options.rate=much", "'model.fusion.options.rate' is 'much', expected a float such as 0.0"),
        ("vary=('init',)", "no config key 'vary' (it is called 'per_seed' now)"),
        ("training.epochs=0", "'training.epochs' is 0, expected at least 1"),
        ("seeds=1000000000", "'seeds' is 1000000000, expected at most 10000"),
        ("model.rate=2.0", "'model.rate' is 2.0, expected a number in [0, 1)"),
    ],
)
def test_a_wrong_option_or_a_value_out_of_range_is_one_line(plain, tmp_path, module, flag, message):
    status, out = tiny.command(module, plain, f"--workdir={tmp_path}/r", f"--config.{flag}")
    assert status == 2 and len(out.splitlines()) == 1 and out.startswith("error: ") and message in out, out
    assert not list(tmp_path.glob("r/cells/*"))


LOSS = """
from fusion_jax.losses.cross_entropy import cross_entropy

def pen(output, target, weight, *, context):
    return cross_entropy(output, target, weight, context=context)
"""


def test_a_loss_in_a_file_is_added_on_the_command_line(plain, tmp_path):
    (tmp_path / "pen.py").write_text(LOSS)
    for weight in (0.5, 0.25):
        extra = f"--config.loss.extra.{tmp_path}/pen.py={weight}"
        status, out = tiny.command("experiments.train", plain, f"--workdir={tmp_path}/r{weight}", extra)
        assert status == 0, out
        store, ids = cells(tmp_path / f"r{weight}")
        assert store.config(*ids.values())["loss"]["extra"] == {f"{tmp_path}/pen.py": weight}


@pytest.mark.parametrize("module", ["experiments.sweep", "experiments.train"])
@pytest.mark.parametrize("returned", ["3", "None", "{}"])
def test_what_get_config_returns_is_a_config(tmp_path, module, returned):
    (tmp_path / "study.py").write_text(f"def get_config(arg=''):\n    return {returned}\n")
    status, out = tiny.command(module, f"--config={tmp_path}/study.py", f"--workdir={tmp_path}/r")
    assert status == 2 and len(out.splitlines()) == 1, out
    assert f"study.py: get_config returned {returned}, expected the config of study.defaults" in out


def test_a_sweep_without_a_study_file_is_one_line(tmp_path):
    status, out = tiny.command("experiments.sweep", f"--workdir={tmp_path}/r")
    assert status == 2 and len(out.splitlines()) == 1 and out.startswith("error: ") and "--config" in out, out


def test_more_seeds_by_the_train_command_train_the_missing_ones_and_are_reported(study_file, tmp_path):
    args = (f"--config={study_file(LR)}", f"--workdir={tmp_path}/r", "--config.control.name=logistic_regression")
    for seeds in (2, 4):
        status, out = tiny.command("experiments.train", *args, f"--config.seeds={seeds}")
        assert status == 0, out
        store, ids = cells(tmp_path / "r")
        (row,) = rows(store)
        assert row.seeds == tuple(range(seeds)) and row.label == "logistic_regression"
    assert [seeds for _, seeds in store.parts(*ids.values())] == [[0, 1], [2, 3]]


def test_a_cell_that_does_not_fit_is_no_row_of_the_study(study_file, tmp_path):
    args = (f"--config={study_file(LR)}", f"--workdir={tmp_path}/r")
    wrong = [["--config.model.readout.name=mean"], ["--config.data.modalities=('m0','m9')"]]
    messages = ["readout 'mean' is for graph tasks", "has no modality 'm9'"]
    for flags, message in zip(wrong, messages, strict=True):
        status, out = tiny.command("experiments.train", *args, *flags)
        assert status == 2 and message in out and cells(tmp_path / "r")[1] == {}, out
    assert tiny.command("experiments.train", *args, "--config.control.name=rbf_svm")[0] == 0
    for flags in wrong:
        assert tiny.command("experiments.train", *args, *flags)[0] == 2
    store, ids = cells(tmp_path / "r")
    assert list(ids) == ["rbf_svm"] and [row.error for row in rows(store)] == [""]


@pytest.mark.parametrize("module", ["experiments.sweep", "experiments.train"])
def test_a_folder_that_another_run_writes_to_is_refused(study_file, tmp_path, module):
    store = Store(tmp_path / "r", create=True)
    args = (f"--config={study_file(LR)}", f"--workdir={store.root}", "--config.control.name=rbf_svm")
    with exclusive(store.root):
        status, out = tiny.command(module, *args)
    assert status == 2 and len(out.splitlines()) == 1 and "is writing results here" in out, out
    assert not (store.root / "study.json").exists() and not list((store.root / "cells").iterdir())


def test_what_the_command_line_sets_in_vain_is_said(study_file, tmp_path):
    """Where every cell sets the key itself, or the options it stands in as a whole."""
    gmu = {"model.fusion.name": "gmu"}
    file = study_file({**gmu, "model.placement": "after"}, {**gmu, "data.options": tiny.DATA})
    flags = ["--config.model.fusion.name=lmf", "--config.model.placement=before", "--config.seeds=3"]
    status, out = run(file, tmp_path / "r", "--dry_run", *flags)
    assert status == 0 and [line for line in out.splitlines() if "warning" in line] == [
        f"warning: --config.model.fusion.name does nothing: every cell of {file} sets it itself"
    ]
    file = study_file({"data.options": tiny.DATA})
    status, out = run(file, tmp_path / "r", "--dry_run", "--config.data.options.nodes=80")
    assert status == 0 and "warning: --config.data.options.nodes does nothing" in out
    assert "warning" not in run(file, tmp_path / "r", "--dry_run", "--config.model.fusion.name=lmf")[1]


def test_a_misspelt_sweep_is_said(study_file, tmp_path):
    file = pathlib.Path(study_file(LR))
    file.write_text(file.read_text().replace("def sweep(", "def sweeep("))
    status, out = run(file, tmp_path / "r", "--dry_run")
    assert status == 0 and f"warning: {file} has no sweep(add): one cell" in out and "mean" in out


def test_rows_whose_labels_differ_in_capitals_only_are_said(study_file, tmp_path):
    file = study_file({**LR, "label": "Control"}, {**RBF, "label": "control"})
    status, out = run(file, tmp_path / "r", "--dry_run")
    assert status == 0 and "warning: rows 'Control' and 'control' differ between small and capital letters only" in out


def test_rows_whose_data_have_changed_since_are_said_to_be_so(study_file, tmp_path):
    folder = pathlib.Path(folders.write(tmp_path / "cohort"))
    file = study_file({**LP, "data.name": "tables", "data.options": {"folder": str(folder)}})
    assert "of the same config" not in run(file, tmp_path / "r")[1]
    genes = (folder / "genes.csv").read_text().splitlines()
    (folder / "genes.csv").write_text("\n".join([*genes[:-1], genes[-1].rpartition(",")[0] + ",7.5"]) + "\n")
    status, out = run(file, tmp_path / "r")
    assert status == 0 and "1 of 1 rows that" in out
    assert "label_propagation (1 of the same config: their data, or a mechanism, have changed); what" in out


def test_rows_that_leave_the_tables_of_a_folder_are_named(study_file, tmp_path):
    assert "warning" not in run(study_file(LR, LP), tmp_path / "r")[1]
    assert "warning" not in run(study_file(LR, LP), tmp_path / "r", "--config.seeds=3")[1]
    assert "warning" not in run(study_file(LR, LP, RBF), tmp_path / "r")[1]
    status, out = run(study_file(LR), tmp_path / "r")
    assert status == 0 and list(cells(tmp_path / "r")[1]) == ["logistic_regression"]
    assert f"warning: 2 of 3 rows that {tmp_path}/r had are not of this study, and leave its tables: " in out
    assert "label_propagation, rbf_svm; what they stored stays" in out
    assert "3 cells, 3 finished before" in run(study_file(LR, LP, RBF), tmp_path / "r")[1]
