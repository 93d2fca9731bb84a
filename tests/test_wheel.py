"""The wheel: one top-level name, with commands and studies, and it works in any folder, whatever packages lie there."""

import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The contents of the wheel, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in (
        "fusion_jax",
        "experiments",
        "configs",
        "setup.cfg",
        "setup.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    ):
        (source / name).symlink_to(ROOT / name)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    done = subprocess.run([*build, "-w", folder, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_one_top_level_name(installed):
    assert {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} == {"fusion_jax"}


def test_every_study_and_command_is_in_it(installed):
    for inside, beside in (("configs", ROOT / "configs"), ("commands", ROOT / "experiments")):
        names = {str(path.relative_to(beside)) for path in beside.rglob("*.py")}
        assert names == {
            str(path.relative_to(installed / "fusion_jax" / inside))
            for path in (installed / "fusion_jax" / inside).rglob("*.py")
        }


def run(installed, folder, *args: str) -> subprocess.CompletedProcess:
    """`fusion-jax *args` in the folder, with the unpacked wheel in front of everything else."""
    call = "import sys; from fusion_jax.commands import main; sys.argv[0] = 'fusion-jax'; main()"
    env = {**os.environ, "PYTHONPATH": str(installed), "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "0"}
    env |= {"JAX_NUMPY_DTYPE_PROMOTION": "standard"}
    command = [sys.executable, "-c", call, *args]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def test_a_study_runs_from_a_folder_with_packages_of_its_own(installed, tmp_path):
    for name in ("configs", "experiments"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('this is not the one')\n")
    study = "--config=configs/ablations/regression.py:quick"
    done = run(installed, tmp_path, "sweep", study, "--workdir=r", "--dry_run")
    assert done.returncode == 0 and "concat_mlp" in done.stdout, done.stderr
    small = (
        "--config.data.name=synthetic",
        "--config.data.options.nodes=60",
        "--config.seeds=1",
        "--config.model.dim=8",
    )
    done = run(installed, tmp_path, "train", "--workdir=r", *small, "--config.training.epochs=2")
    assert done.returncode == 0 and "accuracy" in done.stdout, done.stderr
    done = run(installed, tmp_path, "report", "--workdir=r")
    assert done.returncode == 0 and "concat_mlp" in done.stdout, done.stderr
    page = (tmp_path / "r" / "report" / "index.html").read_bytes()
    assert b"Content-Security-Policy" in page and b"concat_mlp" in page, "its style and its scripts are in the wheel"


def test_commands_are_listed_and_a_misspelt_one_is_named(installed, tmp_path):
    done = run(installed, tmp_path)
    assert done.returncode == 0 and all(word in done.stdout for word in ("sweep", "train", "report", "merge", "zoo"))
    done = run(installed, tmp_path, "swep")
    assert done.returncode != 0 and "did you mean 'sweep'" in done.stderr
