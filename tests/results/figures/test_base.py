"""Figures are drawn without a display, whatever backend the environment names."""

import os
import subprocess
import sys

import pytest

from fusion_jax.results.figures import differences, elided, image, style
from fusion_jax.results.rendering import table as shared
from tests.drawn import LONG, NEEDS, study

pytestmark = NEEDS

DRAW = """
import os, sys
from etils import epath
from fusion_jax.results.figures import new_figure, save_figure
figure, axes = new_figure(2, 2)
axes.plot([0, 1])
save_figure(epath.Path(sys.argv[1]), figure)
import matplotlib
print(os.environ["MPLBACKEND"], matplotlib.rcParams._get("backend"))
assert "matplotlib.pyplot" not in sys.modules
"""


@pytest.mark.parametrize("backend", ["module://a_notebook.that_is_not_here", "TkAgg", "nonsense", "svg"])
def test_a_backend_that_is_not_there_or_needs_a_display(tmp_path, backend):
    env = {k: v for k, v in os.environ.items() if k != "DISPLAY"} | {"MPLBACKEND": backend}
    code = [sys.executable, "-c", DRAW, str(tmp_path / "a.png")]
    done = subprocess.run(code, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").read_bytes()[1:4] == b"PNG"
    named, chosen = done.stdout.split(None, 1)
    assert named == backend
    assert ("svg" in chosen) == (backend == "svg"), "what the user named stands, where it exists"


def test_lines_differ_in_more_than_their_colour():
    looks = [style(i) for i in range(6)]
    assert len({s["marker"] for s in looks}) == 6 and len({str(s["ls"]) for s in looks}) == 6
    assert b"<svg" in image(differences.figure([shared.of(study(2))]), "svg")


def test_a_long_name_keeps_both_ends():
    assert elided("short", 10) == "short" and len(elided(LONG, 30)) == 30
    assert elided(LONG, 30).startswith("a_mech") and elided(LONG, 30).endswith("sage")


SHOWN = """
import sys
from IPython.core.formatters import DisplayFormatter
from fusion_jax.results.figures import new_figure

figure, axes = new_figure(3, 2)
data, _ = DisplayFormatter().format(figure)
assert data["image/png"].startswith(b"\\x89PNG") and "matplotlib.pyplot" not in sys.modules, sorted(data)
"""


def test_a_notebook_shows_an_image_though_nothing_has_loaded_pyplot():
    pytest.importorskip("IPython", reason="notebooks are an extra")
    done = subprocess.run([sys.executable, "-c", SHOWN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
