"""What a trained `visor` scores under each of its budgets, what each would cost, and what its policy spends.

Reference: Bulat et al., "VISion On Request", CVPR 2026 (see `fusion.visor`). Budgets are computed by masking, which
saves nothing: the cost told here is that of an implementation that leaves the masked layers out.
"""

from __future__ import annotations

import functools

import jax
import numpy as np
import pandas as pd
from flax import nnx

from fusion_jax import metrics
from fusion_jax.analysis.base import Report
from fusion_jax.fusion.visor import CHOSEN, VISOR, with_mode
from fusion_jax.metrics.base import Scored
from fusion_jax.records import Array, Batch, Context, Info
from fusion_jax.results.figures import new_figure
from fusion_jax.results.recorded import at
from fusion_jax.results.restore import Restored
from fusion_jax.training.compilation import own_settings

INFO = Info(
    "Bulat et al., VISion On Request: Enhanced VLLM efficiency with sparse, dynamically selected, vision-language "
    "interactions",
    2026,
    cost="K + 2 forward passes",
)
OF = "cell"
CHECKED_WITH = {"model.fusion.name": "visor", "model.fusion.options": dict(layers=3, heads=1, hidden=8)}
POLICY = "the policy's"
NOTE = (
    "A budget is how many of the layers that may rewrite the modalities do. "
    "Multiplications are those of the fusion for one node, with the mean number of senders of a node and all of its "
    "modalities there; all else in the model costs the same under every budget. Scores are of one seed's test rows: "
    "whether two budgets differ by more than chance takes a study with a row for each."
)
CHOICE = " In the policy's row budget is the mean over nodes; in the others nodes is the share that it gives that one."
ONE = " Training knew one budget alone, {budget}; the others say what the layers are worth to a network of that budget."


@own_settings()
def budgets(cell: Restored, place: int) -> Report:
    """The score of one seed's test rows under every budget, beside what that budget costs.

    The table "budgets" has a row a budget 0 ... K that all nodes have, and one for the policy's choice if the cell was
    trained with scheme `visor` and has a policy: budget (in the policy's row the mean over nodes), nodes (the share of
    them to which the policy gives that budget), multiplications (a node, mean over nodes, see `VISOR.operations`),
    share (of the multiplications of budget K) and the primary metric. Fact "stands": the budget the cell was stored
    with, or the policy's.

    Args:
        place: which stored seed.
    Raises:
        ValueError: a cell whose fusion is not `visor`.
    """
    model, batch, context = nnx.clone(cell.models[place]), cell.batch(place), cell.context(place)
    found = [m for _, m in nnx.iter_modules(model) if isinstance(m, VISOR)]
    if len(found) != 1:
        raise ValueError(f"budgets looks at fusion 'visor'; this cell's is {cell.plan.model.fusion.name!r}")
    (fusion,) = found
    stands, full = int(fusion.mode[...]), fusion.most
    costs = np.array(fusion.operations(len(batch.graph.senders) / len(batch.mask), len(cell.prepared.batch.features)))
    rows = cell.prepared.splits[place].test
    truth = at(cell.data.target, rows)

    def score(mode: int) -> tuple[float, np.ndarray]:
        """The primary metric, and the policy's choice [N]."""
        with_mode(fusion, mode)
        prediction, logits = _forward(*nnx.split(model), batch, context)
        told = cell.prepared.own_units(np.asarray(prediction, np.float32), place)
        return float(metrics.scores([Scored(truth, told[rows])])[cell.primary][0]), np.asarray(logits).argmax(-1)

    scores, choices = zip(*(score(budget) for budget in range(full + 1)), strict=True)
    table = pd.DataFrame(dict(setting=[str(n) for n in range(full + 1)], budget=np.arange(full + 1.0)))
    table["multiplications"], table[cell.primary] = costs, scores
    note = NOTE
    if stands == CHOSEN:
        note += CHOICE
        chosen = choices[0]  # it reads the states before the first layer that rewrites: no budget changes them
        table.insert(2, "nodes", np.bincount(chosen, minlength=full + 1) / len(chosen))
        table.loc[full + 1] = [POLICY, chosen.mean(), 1.0, costs[chosen].mean(), score(CHOSEN)[0]]
    elif not cell.plan.scheme.name:
        note += ONE.format(budget=stands)
    table.insert(table.columns.get_loc("multiplications") + 1, "share", table.multiplications / costs[-1])
    facts = dict(stands=POLICY if stands == CHOSEN else stands)
    return Report(
        {"budgets": table},
        _sentence(table, cell.primary, stands, full),
        {"budgets": functools.partial(_figure, table, cell.primary)},
        note=note,
        facts=facts,
    )


@functools.partial(jax.jit, static_argnums=0)  # one program for all budgets: the mode is among the state
def _forward(graphdef, state, batch: Batch, context: Context) -> tuple[Array, Array]:
    """What the model predicts, and the policy's logits [N, K + 1]."""
    output = nnx.merge(graphdef, state)(batch, context=context)
    (said,) = (a for a in output.attention if a.name.endswith("budget"))
    return output.prediction, said.scores


def _sentence(table: pd.DataFrame, metric: str, stands: int, full: int) -> str:
    last, first = table.iloc[full], table.iloc[0]
    name = metrics.heading(metric)
    full_cost = f"of the multiplications of budget {full}"
    if stands != CHOSEN:
        ends = f"{name} {first[metric]:.3f} at {first.share:.0%} {full_cost}, which has {last[metric]:.3f}"
        return f"On this seed's test rows budget 0 has {ends}."
    own = table.iloc[-1]
    return (
        f"On this seed's test rows the policy has {name} {own[metric]:.3f} at {own.share:.0%} {full_cost}; "
        f"budget 0 has {first[metric]:.3f} at {first.share:.0%}, budget {full} {last[metric]:.3f}."
    )


def _figure(table: pd.DataFrame, metric: str):
    """Score against multiplications: dots of the budgets joined, the policy a star."""
    fig, ax = new_figure(5, 3.5)
    fixed, own = table[table.setting != POLICY], table[table.setting == POLICY]
    ax.plot(fixed.multiplications, fixed[metric], color="C0", marker="o", label="the same budget for all nodes")
    for name, *place in zip(fixed.setting, fixed.multiplications, fixed[metric], strict=True):
        ax.annotate(name, place, xytext=(4, 4), textcoords="offset points", fontsize="small")
    if len(own):
        ax.plot(own.multiplications, own[metric], color="C1", marker="*", ms=12, ls="", label="chosen by the policy")
    ax.margins(0.1)  # the numbers stand beside their dots
    ax.set_xlabel("multiplications a node, in the fusion")
    ax.set_ylabel(metrics.heading(metric))
    ax.legend(fontsize="small")
    return fig
