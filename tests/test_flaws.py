"""Releases of jaxlib that go wrong: the flag that helps is set, and what no flag helps against is said."""

import importlib.metadata
import os
import subprocess
import sys
import warnings

import pytest

from fusion_jax import flaws

FLAG = "--xla_cpu_experimental_ynn_fusion_type"


def set_for(release, flags=None):
    environment = {} if flags is None else {"XLA_FLAGS": flags}
    flaws.avoid(release, environment)
    return environment.get("XLA_FLAGS")


def test_a_release_is_given_its_flag_and_no_other_is():
    assert set_for("0.10.2") == f"{FLAG}=-reduce"
    assert set_for("0.10.2", "--xla_dump_to=x") == f"--xla_dump_to=x {FLAG}=-reduce"
    assert set_for("0.10.2", f"{FLAG}=") == f"{FLAG}=", "the user's own stays"
    assert set_for("0.11.0") == f"{FLAG}=-reduce"
    assert set_for("0.12.0") is None and set_for("0.12.0", "--a") == "--a", "which may not know it, and would end"


def test_what_no_flag_helps_against_is_said_once():
    flaws.told.cache_clear()
    with pytest.warns(UserWarning, match="jaxlib 0.11.1: .*wrong values.*issue 40633.*another release"):
        flaws.told("gpu", "0.11.1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flaws.told("gpu", "0.11.1")
        flaws.told("gpu", "0.12.0")
        flaws.told("cpu", "0.12.0")


def run(code, **environment):
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | dict(JAX_PLATFORMS="cpu", JAX_ENABLE_X64="0")
    env |= dict(JAX_ENABLE_COMPILATION_CACHE="false", **environment)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, done.stderr


CHECK = "from fusion_jax.training.compilation import check_platform; check_platform()"


def test_sums_are_right_when_this_package_is_imported():
    """On a machine of one core they are in any case."""
    code = f"import jax; import fusion_jax; from fusion_jax import flaws; {CHECK}; print(flaws._sums_go_wrong())"
    out, err = run(code)
    assert out.split() == ["False"] and "UserWarning" not in err


@pytest.mark.skipif(importlib.metadata.version("jaxlib") != "0.10.2", reason="the release that has the flaw")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="it shows where threads share the rows")
def test_a_flag_that_comes_too_late_is_said():
    code = f"import jax; jax.numpy.ones(3).sum(); import fusion_jax; {CHECK}"
    _, err = run(code)
    assert "UserWarning: jaxlib 0.10.2: sums behind products" in err and f"set XLA_FLAGS={FLAG}=-reduce" in err
