"""All figures of a study: as vectors and as images, those drawn in a moment by default."""

from fusion_jax.results import report
from fusion_jax.results.figures import every
from tests.drawn import NEEDS

pytestmark = NEEDS


def test_all_figures_of_a_study_as_vectors_and_images(stored):
    made = report.written(stored, figures=True)
    names = sorted(path.name for path in made.files if path.parent.name == "figures")
    assert names == sorted(f"{n}.{f}" for n in ("cost", "differences", "learning_curves") for f in ("pdf", "png"))
    starts = dict(pdf=b"%PDF", png=b"\x89PNG")
    assert all(p.read_bytes().startswith(starts[p.suffix[1:]]) for p in made.files if p.parent.name == "figures")
    few = {p.name for p in report.written(stored, figures=None).files if p.parent.name == "figures"}
    assert few == {f"{name}.{form}" for name in every.CHEAP for form in ("pdf", "png")}
    assert not any(p.parent.name == "figures" for p in report.written(stored).files)
