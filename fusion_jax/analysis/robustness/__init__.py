"""How robust a trained cell is: its score against what is missing at test time, and against noise.

References: Ferrini et al., "Rethinking GNNs and Missing Features: Challenges, Evaluation and a Robust Solution", 2026
(arXiv 2601.04855), why missing completely at random is not enough and sparse features flatter; the mechanisms are ours
(`data.missing`), of whole modalities.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp

from fusion_jax import metrics, zoo
from fusion_jax.analysis.base import Report, over_seeds, told_by_edges
from fusion_jax.analysis.robustness import asked, figures
from fusion_jax.analysis.robustness.curves import area, equity
from fusion_jax.analysis.shapley.game import members
from fusion_jax.records import Info
from fusion_jax.results.restore import Restored
from fusion_jax.training.compilation import own_settings
from fusion_jax.training.prepare import STRUCTURE

INFO = Info(
    "Ferrini et al., Rethinking GNNs and Missing Features: Challenges, Evaluation and a Robust Solution",
    2026,
    cost="2^M + 9 (M + 7) forward passes a seed",
)
OF = "cell"
SEEDS = "all"
RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SUBSETS = 8  # modalities up to which every subset is asked
SPARSE = 0.8  # share of zeros from which features that are never negative read as a bag of words
FEATURES, EDGES = "feature noise", "edge noise"
NOTE = (
    "All nodes are touched, training nodes too, and test rows are scored; nothing is trained anew. The area is the "
    "mean height of a curve over its levels, the loss how much worse that is than the score of what is complete. "
    "Mechanisms are those of fusion_jax/data/missing; of `one_modality` no other is touched. The equity index is 1 - "
    "M / (M - 1) G, G the Gini coefficient of the losses (below 0 taken for 0) of the M modalities under "
    "`one_modality`: 1 where all absences cost alike, 0 where one costs all. Feature noise is normal, its levels "
    "standard deviations of the modality; of edge noise a level is the share of edges of which one end is drawn anew. "
    "Intervals are Student's over the seeds, 95 %; where seeds draw their splits these overlap, and the intervals do "
    "not allow for it."
)
BAGS = (
    "All modalities (but the graph's own) look like bags of words: features that are never negative and at least "
    "{share:.0%} of which are 0. Taking such features away takes little away, and makes every model look robust; "
    "these curves tell nothing of data whose features are dense. "
)


@own_settings()
def robustness(
    cell: Restored,
    place: int,
    *,
    mechanisms: tuple[str, ...] = (),
    rates: tuple[float, ...] = RATES,
    noise: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0, 2.0),
    repeats: int = 1,
) -> Report:
    """Curves of the primary metric against missing modalities, noise in features and in edges, over all seeds.

    Tables: "areas" (of every curve its area and its loss, above 0 where the score is worse), "equity" (the loss of
    every modality, and the index over them), "subsets" (the score with each subset of the modalities) and "curves" (the
    score at every level).

    Args:
        place: not looked at, all seeds are.
        mechanisms: files of `data.missing`, or paths; () for all that fit the cell.
        rates: missing rates, and shares of edges, rising from 0 and below 1.
        noise: levels of feature noise, rising from 0.
        repeats: draws a seed, meaned.
    Raises:
        ValueError: levels that do not rise from 0, rates that are not below 1, no repeat, or a named mechanism that
            refuses the cell.
    """
    del place
    _check(rates, noise, repeats)
    seeds, nodes, sign = range(len(cell.seeds)), asked.nodes_of(cell), metrics.sign(cell.primary)
    chosen, refused = asked.curves(cell, mechanisms)
    found = {
        (zoo.short(curve.mechanism), curve.modality): (
            rates,
            np.stack([asked.of_curve(cell, i, curve, nodes, rates, repeats) for i in seeds]),
        )
        for curve in chosen
    }
    found[FEATURES, ""] = noise, np.stack([asked.of_noise(cell, i, noise, repeats) for i in seeds])
    if cell.batch(0).graph is not None:
        found[EDGES, ""] = rates, np.stack([asked.of_edges(cell, i, rates, repeats) for i in seeds])
    losses = {key: sign * (score[:, 0] - area(levels, score)) for key, (levels, score) in found.items()}
    tables = {"areas": _areas(found, losses)}
    own = {modality: losses[key] for key in losses if (modality := key[1])}
    index = equity(np.stack(list(own.values()), -1)) if own else np.full(len(cell.seeds), np.nan)
    told = index[~np.isnan(index)]
    if own:
        lines = [dict(modality=modality, **over_seeds(loss)) for modality, loss in own.items()]
        tables["equity"] = pd.DataFrame([*lines, dict(modality="equity index", **over_seeds(told))])
    names = cell.prepared.batch.names
    if len(names) <= SUBSETS:
        tables["subsets"] = _subsets(cell, names)
    tables["curves"] = _curves(found)
    least = min((sparsity(x) for name, x in nodes.features.items() if name != STRUCTURE), default=0.0)
    warned = least >= SPARSE
    note = (BAGS.format(share=least) if warned else "") + NOTE + told_by_edges(cell)
    if len(names) > SUBSETS:
        note += (
            f" Subsets are left out: {len(names)} modalities have 2^{len(names)}, expected at most {SUBSETS} of them."
        )
    if refused:
        note += f" Left out: {'; '.join(refused)}."
    draw = functools.partial(figures.curves, tables["curves"], cell.primary)
    facts = dict(bags_of_words=bool(warned), equity=float(told.mean()) if len(told) else None)
    sentence = _sentence(tables, cell.primary, len(cell.seeds), facts["equity"])
    return Report(tables, sentence, {"curves": draw}, note=note, facts=facts)


def sparsity(x: np.ndarray | sp.csr_matrix) -> float:
    """The share of zeros among features that are never negative; 0 where some are."""
    values = x.data if sp.issparse(x) else np.asarray(x)
    if values.size and np.nanmin(values) < 0:
        return 0.0
    return 1 - np.count_nonzero(values) / max(int(np.prod(x.shape)), 1)


def _check(rates: Sequence[float], noise: Sequence[float], repeats: int) -> None:
    for option, levels in dict(rates=rates, noise=noise).items():
        if len(levels) < 2 or levels[0] != 0 or any(b <= a for a, b in zip(levels, levels[1:], strict=False)):
            raise ValueError(f"robustness: {option}={levels}, expected two levels or more that rise from 0")
    if rates[-1] >= 1:
        raise ValueError(f"robustness: rates={rates}, expected numbers below 1")
    if repeats < 1:
        raise ValueError(f"robustness: repeats={repeats}, expected at least 1")


def _areas(found: dict, losses: dict) -> pd.DataFrame:
    lines = []
    for key, (levels, score) in found.items():
        height, loss = over_seeds(area(levels, score)), over_seeds(losses[key])
        lines.append(
            {"mechanism": key[0], "modality": key[1], "area": height["value"]}
            | {"loss": loss["value"], "low": loss["low"], "high": loss["high"]}
        )
    return pd.DataFrame(lines)


def _curves(found: dict) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"mechanism": mechanism, "modality": modality, "level": level, **over_seeds(score[:, k])}
            for (mechanism, modality), (levels, score) in found.items()
            for k, level in enumerate(levels)
        ]
    )


def _subsets(cell: Restored, names: Sequence[str]) -> pd.DataFrame:
    inside = members(len(names))
    keep = np.broadcast_to(inside[:, None], (len(inside), cell.data.num_nodes, len(names)))
    score = np.stack([asked.of_masks(cell, i, keep) for i in range(len(cell.seeds))])
    called = [" + ".join(n for n, here in zip(names, one, strict=True) if here) or "none" for one in inside]
    lines = [
        dict(modalities=name, number=int(one.sum()), **over_seeds(score[:, b]))
        for b, (name, one) in enumerate(zip(called, inside, strict=True))
    ]
    return pd.DataFrame(lines).sort_values("number", kind="stable").reset_index(drop=True)


def _sentence(tables: dict[str, pd.DataFrame], metric: str, seeds: int, index: float | None) -> str:
    areas, curves = tables["areas"], tables["curves"]
    lacks = areas[~areas.mechanism.isin([FEATURES, EDGES])]
    first = curves.value.iloc[0]
    whose = "one seed" if seeds == 1 else f"{seeds} seeds"
    text = f"Over {whose} {metrics.heading(metric)} of the data as they are is {first:.3f}"
    if len(lacks):
        worst = lacks.loc[lacks.loss.idxmax()]
        called = worst.mechanism + (f" of {worst.modality}" if worst.modality else "")
        top = curves[(curves.mechanism == worst.mechanism) & (curves.modality == worst.modality)].level.max()
        text += (
            f"; the mechanism that costs most is {called}, with {worst.area:.3f} on the average of rates to {top:g} (a "
            f"loss of {worst.loss:.3f}" + ("" if np.isnan(worst.low) else f" [{worst.low:.3f}, {worst.high:.3f}]") + ")"
        )
    else:
        text += f", and under feature noise {areas.area.iloc[0]:.3f} on the average"
    if "equity" in tables and index is not None:
        own = tables["equity"][tables["equity"].modality != "equity index"]
        most = own.loc[own.value.idxmax()]
        shown = (own.low > 0).any()
        text += f"; of single modalities {most.modality} is missed most ({most.value:.3f}), equity {index:.2f}"
        text += "" if shown else ", but of none it is shown to be more than 0"
    return text + "."
