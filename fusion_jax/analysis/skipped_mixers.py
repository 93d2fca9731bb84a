"""What a trained cell scores without its simple attentions, nothing trained anew.

Reference: Xue, Moosavi and Aletras, "Deconstructing Attention", 2025 (arXiv 2510.11602), configuration "skip": their
hybrids fall to chance without the simple layers, which are therefore not idle.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import jax
import numpy as np
import pandas as pd
from flax import nnx

from fusion_jax import metrics
from fusion_jax.analysis.base import Report
from fusion_jax.metrics.base import Scored
from fusion_jax.mixers.base import PAPER
from fusion_jax.model import skipped
from fusion_jax.records import Array, Batch, Context, Info
from fusion_jax.results.recorded import at
from fusion_jax.results.restore import Restored
from fusion_jax.training.compilation import own_settings

INFO = Info(PAPER, 2025, cost="2 forward passes")
OF = "cell"
CHECKED_WITH = {
    "model.fusion.name": "deconstructing_attention",
    "model.fusion.options": dict(layers=2, heads=2, hidden=8),
    "model.mixer.name": "approximate",
    "model.mixer.layers": "hybrid",
}
NOTE = (
    "A simple attention that is left out returns 0; the residual around it, the norms and the feed-forward network "
    "stay (whether the paper leaves those of the layer out too is not said). Scores are of one seed's test rows."
)


@own_settings()
def skipped_mixers(cell: Restored, place: int) -> Report:
    """The score of one seed's test rows with and without the simple attentions of the cell.

    The table "skipped" has the rows "trained" and "skipped", the number of simple attentions that are left out, and the
    primary metric.

    Args:
        place: which stored seed.
    Raises:
        ValueError: the cell's mixer is the standard one, or it is no cell of a model with a mixer.
    """
    model, mixer = cell.models[place], cell.plan.model.mixer
    chosen = sum(map(len, getattr(model, "mixed", ())))
    if not chosen:
        raise ValueError(
            f"skipped_mixers looks at cells with simple attentions; this cell's model.mixer is {mixer.name!r}: train "
            "one with another mixer in some layers, such as model.mixer.name=approximate and model.mixer.layers=hybrid"
        )
    batch, context = cell.batch(place), cell.context(place)
    rows = cell.prepared.splits[place].test
    truth = at(cell.data.target, rows)

    def score(skip: bool) -> float:
        prediction = _forward(*nnx.split(model), batch, context, skip)
        told = cell.prepared.own_units(np.asarray(prediction, np.float32), place)
        return float(metrics.scores([Scored(truth, told[rows])])[cell.primary][0])

    whole, without = score(False), score(True)
    table = pd.DataFrame({"setting": ["trained", "skipped"], "left out": [0, chosen], cell.primary: [whole, without]})
    name = metrics.heading(cell.primary)
    those = "the attention that is" if chosen == 1 else f"the {chosen} attentions that are"
    sentence = f"On this seed's test rows {name} is {whole:.3f}, and {without:.3f} without {those} {mixer.name}."
    lean = {f"{name} without simple attentions": {cell.seeds[place]: without}}
    return Report({"skipped": table}, sentence, note=NOTE, columns=lean)


@functools.partial(jax.jit, static_argnums=(0, 4))
def _forward(graphdef: Any, state: Any, batch: Batch, context: Context, skip: bool) -> Array:
    """What the model predicts, without its simple attentions if `skip`, which is asked while the program is traced."""
    with skipped() if skip else contextlib.nullcontext():
        return nnx.merge(graphdef, state)(batch, context=context).prediction
