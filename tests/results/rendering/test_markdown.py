"""Markdown tables: marks and places in every cell. (`tests/results/test_report.py` has whole reports.)"""

from fusion_jax.results.rendering import markdown
from fusion_jax.results.rendering import table as shared
from tests.rows import noisy, row


def test_a_mean_with_what_is_said_of_it():
    assert markdown.scored("0.7 ± 0.1", 1, "+") == "**0.7 ± 0.1** (+)"
    assert markdown.scored("0.7 ± 0.1", 2, "") == "_0.7 ± 0.1_" and markdown.scored("0.7", 0, "-") == "0.7 (-)"


def test_costs_stand_in_columns_and_the_front_is_marked():
    rows = [row("concat_mlp", noisy(0.7), flops=2e9, peak_bytes=3e7, compile_seconds=4.0), row("b", noisy(0.6, draw=1))]
    head, _, first, second = markdown.render(shared.of(rows)).splitlines()[2:]
    assert head.endswith("| seeds | parameters | FLOPs | memory | seconds | compile s |")
    assert first.endswith("| 10 | 100 * | 2.0 G | 30 MB | 1.0 * | 4.0 |") and second.endswith(
        "| 10 | 100 | - | - | 1.0 | - |"
    )


def test_what_tuning_chose_stands_below():
    tuned = row("gmu (tuned, 20 trials)", noisy(0.8), trials=20, chosen={"optimizer.learning_rate": 0.00312345})
    text = markdown.render(shared.of([row("concat_mlp", noisy(0.7, draw=1)), tuned]))
    assert "Chosen by tuning: gmu (tuned, 20 trials) (before): learning_rate=0.00312." in text


def test_less_than_is_text_and_a_tag_is_not():
    assert markdown.plain("p < .001, a <- b") == "p < .001, a <- b" and markdown.plain("<b> </i>") == r"\<b> \</i>"
