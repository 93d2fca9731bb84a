"""What a process sets up: the compilation cache, the platform, JAX's own switches."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from fusion_jax.training import compilation
from tests import tiny


@pytest.fixture
def settings():
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_cache_is_where_the_variable_says_else_in_the_users_cache(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for named, place in (
        ("own", tmp_path / "own"),
        (str(tmp_path / "[x]"), tmp_path / "[x]"),
        (None, tmp_path / "cache" / "fusion_jax" / "xla"),
    ):
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
        if named:
            monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", named)
        assert compilation.use_cache() == place and place.is_dir()
        assert jax.config.jax_compilation_cache_dir == str(place)
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")


def test_an_empty_variable_means_no_cache(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    assert compilation.use_cache() is None and jax.config.jax_compilation_cache_dir is None
    assert os.listdir(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(settings, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file" / "xla"))
    with pytest.warns(UserWarning, match="compiled programs are not kept: .*file"):
        assert compilation.use_cache() is None
    assert jax.config.jax_compilation_cache_dir is None


def test_without_a_home_there_is_no_cache(settings, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what Python does where no home is known
    assert compilation.use_cache() is None


@pytest.mark.parametrize("platform", ["cuda", "tpu", "nonsense"])
def test_a_platform_that_is_not_there_is_named(platform):
    code = "from fusion_jax.training.compilation import check_platform\ncheck_platform()"
    env = {**os.environ, "JAX_PLATFORMS": platform}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    if done.returncode:  # else it is there
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith(f"ValueError: JAX_PLATFORMS={platform}: no such platform here; set JAX_PLATFORMS=cpu")


@pytest.mark.xdist_group("training-compilation")
def test_a_cell_trains_under_switches_set_for_other_code(tmp_path):
    """The numbers are those without them."""
    data, made = tiny.dataset(), tiny.cell(seeds=1)
    found = []
    with tiny.as_users_run():
        store = Store(tmp_path / "plain", create=True)
        identity = run_cell(made, store, data)["identity"]
        found.append(np.stack(store.table(identity, "predictions").prediction))
        with (
            jax.disable_jit(),
            jax.debug_nans(True),
            jax.debug_infs(True),
            jax.numpy_dtype_promotion("strict"),
            jax.numpy_rank_promotion("raise"),
            jax.transfer_guard("disallow"),
            jax.default_prng_impl("rbg"),
        ):
            store = Store(tmp_path / "strict", create=True)
            with pytest.warns(UserWarning, match="JAX_DISABLE_JIT, JAX_DEBUG_NANS, JAX_DEBUG_INFS is set"):
                run_cell(made, store, data)
            assert jax.config.jax_disable_jit and jax.config.jax_debug_nans, "outside of a cell they hold"
        found.append(np.stack(store.table(identity, "predictions").prediction))
    np.testing.assert_array_equal(*found)
