"""Score against cost: the front is filled, numbered and named."""

from fusion_jax.results.figures import cost
from fusion_jax.results.rendering import table as shared
from tests.drawn import NEEDS, inside, study
from tests.rows import row

pytestmark = NEEDS


def test_cost_against_score_fills_and_names_the_front():
    table = shared.of(study())
    figure = cost.figure([table])
    assert inside(figure)
    for ax, price in zip(figure.axes, ("parameters", "seconds"), strict=True):
        named = [t.get_text() for t in ax.get_legend().get_texts()]
        front = sorted(table.front[price], key=lambda i: getattr(table.rows[i], price))
        assert named[-len(front) :] == [f"{k}  {shared.name(table.rows[i])}" for k, i in enumerate(front, 1)]
        assert ax.get_xscale() == "log"
    assert cost.figure([shared.of([row("a", error="no")])]) is None
