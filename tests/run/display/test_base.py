"""Which display suits a terminal, the seconds that are left, and what all displays say of a cell."""

import io

import pytest
from rich.console import Console

from fusion_jax import zoo
from fusion_jax.run.display.base import choices, chosen, described, left
from fusion_jax.run.listeners import Listener
from tests import tiny

pytestmark = pytest.mark.xdist_group("display")


def test_a_file_is_a_choice():
    assert choices() == ["auto", "line", "log", "none", "plain", "rich"]
    assert all(issubclass(zoo.get("display", name), Listener) for name in choices()[1:])


def test_auto_is_rich_on_a_terminal_whose_cursor_moves(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    terminal, pipe = (Console(file=io.StringIO(), force_terminal=there) for there in (True, False))
    assert chosen("auto", terminal) == "rich" and chosen("auto", pipe) == "plain"
    assert chosen("log", terminal) == "log" and chosen("rich", pipe) == "rich"
    monkeypatch.setenv("TERM", "dumb")
    assert chosen("auto", Console(file=io.StringIO(), force_terminal=True)) == "plain"
    assert chosen("auto", Console(file=io.StringIO(), force_jupyter=True)) == "line"


@pytest.mark.parametrize(("done", "seconds"), [(0, None), (0.9, None), (1, 310.0), (2.5, 118.0), (32, 0.0)])
def test_seconds_left(done, seconds):
    assert left(10.0, done, 32) == seconds


def test_a_cell_in_words():
    assert described(tiny.cell()).split() == ["mean", "before", "synthetic"]
    assert described(tiny.cell(control__name="rbf_svm")).split() == ["rbf_svm", "-", "synthetic"]
