"""Text in LaTeX: breaks in long words change nothing else. (`tests/results/test_report.py` has the characters.)"""

import pytest

from fusion_jax.results.rendering.tex_text import LONGEST, breakable, tex

BREAK = r"\allowbreak{}"


@pytest.mark.parametrize(
    "text",
    ["short", "random_forest(trees=200)", "a b_c, model.fusion.options.heads=8", "[x] " + "y" * 50, "*" * 20, ""],
)
def test_breaks_stand_within_long_words_only(text):
    made = breakable(text)
    assert made.replace(BREAK, "") == tex(text)
    assert (BREAK in made) == any(len(word) > LONGEST for word in text.split())
    if not any("\\" in piece for piece in made.replace(BREAK, " ").split()):
        assert all(len(piece) <= LONGEST + 2 for piece in made.replace(BREAK, " ").split())


def test_a_break_stands_after_what_joins():
    assert breakable("model.fusion.options") == f"model.{BREAK}fusion.{BREAK}options"
