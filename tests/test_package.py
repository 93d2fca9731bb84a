"""`import fusion_jax` costs nothing, and what it offers is loaded when it is used."""

import subprocess
import sys

import pytest

import fusion_jax as fj
from fusion_jax import api

CODE = """
import sys
import fusion_jax as fj
assert not {"jax", "numpy", "pandas", "flax"} & set(sys.modules), sorted(sys.modules)
assert fj.Dataset.__name__ == "Dataset" and "jax" in sys.modules
"""


def test_the_import_loads_nothing():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_it_offers_is_that_of_the_api():
    assert sorted(fj.__all__) == sorted(api.__all__) and set(fj.__all__) <= set(dir(fj))
    assert all(getattr(fj, name) is getattr(api, name) for name in fj.__all__)
    assert fj.zoo.__name__ == "fusion_jax.zoo" and fj.__version__
    with pytest.raises(AttributeError, match="no attribute 'ablat'"):
        _ = fj.ablat
