"""Sets of classes with a stated coverage, from a trained cell: how often they hold the truth, and how large they are.

References: Zargarbashi, Antonelli and Bojchevski, "Conformal Prediction Sets for Graph Neural Networks", 2023; Romano,
Sesia and Candes, "Classification with Valid and Adaptive Coverage", 2020, whose scores are the default; Huang et al.,
"Uncertainty Quantification over Graph with Conformalized Graph Neural Networks", 2023, why predictions of a model that
treats all nodes alike stay exchangeable although nodes see each other.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import softmax

from fusion_jax.analysis.base import Report, over_seeds
from fusion_jax.analysis.conformal import sets
from fusion_jax.records import Info
from fusion_jax.results.restore import Restored
from fusion_jax.training.compilation import own_settings

INFO = Info(
    "Zargarbashi, Antonelli and Bojchevski, Conformal Prediction Sets for Graph Neural Networks",
    2023,
    cost="1 forward pass a seed, O(N C log C + E C)",
)
OF = "cell"
SEEDS = "all"
SCORES = ("adaptive", "probability")
TEST, VALIDATION = "half of test", "validation"
NOTE = (
    f"Rows '{TEST}': a random half of a seed's test rows calibrates, the other is scored. No test row has chosen "
    "anything, so the coverage is at least as stated, for any model, where test rows are exchangeable; it takes labels "
    f"that a user may not have. Rows '{VALIDATION}': validation rows calibrate and all test rows are scored, as in "
    "use. The epoch was chosen on all of these validation rows: a half of them would not undo that, and the coverage "
    "is not guaranteed, only measured here. low and high are Clopper's and Pearson's interval of the scored rows; "
    "'expected' is where 95 % of coverages lie under exchangeability (beta-binomial: calibration rows are few too). "
    "Over seeds the interval is Student's; where seeds draw their splits their rows overlap. Coverage is stated over "
    "all rows: that of a class may be lower."
)
NOT_ALIKE = (
    " The rule of the splits ({rule}) does not say that validation and test rows are drawn alike: they may differ "
    "(groups, times, classes), and then nothing is guaranteed by calibration on validation rows; where test rows are "
    "those of few groups or times, intervals are too narrow as well."
)


@own_settings()
def conformal(
    cell: Restored, place: int, *, alpha: float = 0.1, score: str = "adaptive", diffusion: float = 0.0
) -> Report:
    """Coverage and size of conformal sets over all seeds, with two kinds of calibration rows.

    Tables: "coverage" (a row a kind of calibration, meaned over the seeds), "seeds" and "classes" (over all seeds'
    scored rows; a class under its name). `single`, `larger`, `empty` are shares of rows with one class in their set,
    which can be acted on, with several, where the model abstains, and with none.

    Args:
        place: not looked at, all seeds are.
        alpha: the share of rows whose set may miss the true class.
        score: "adaptive" (sets grow where the model is unsure) or "probability" (1 - p, the smallest on the average).
        diffusion: in [0, 1], how much of a node's scores is the mean of its senders'. Not to be chosen by what it
            gives here.
    Raises:
        ValueError: a task other than classes of nodes, or an option out of range; `diffusion` without a graph.
    """
    del place
    _check(cell, alpha, score, diffusion)
    kinds = (TEST,) if cell.plan.protocol == "paper" else (TEST, VALIDATION)
    lines, counts, labels = [], {}, np.asarray(cell.data.target.labels)
    for i, seed in enumerate(cell.seeds):
        rng = np.random.default_rng([seed, 29])
        scores = _scores(cell, i, score, diffusion, rng)
        split = cell.prepared.splits[i]
        mixed = rng.permutation(split.test)
        half = len(mixed) // 2
        rows = {TEST: (mixed[:half], mixed[half:]), VALIDATION: (split.val, split.test)}
        for kind in kinds:
            calibration, scored = rows[kind]
            limit = sets.threshold(scores[calibration, labels[calibration]], alpha)
            inside = scores[scored] <= limit
            hit, size = inside[np.arange(len(scored)), labels[scored]], inside.sum(1)
            lines.append(_line(seed, kind, len(calibration), hit, size, alpha))
            counts.setdefault(kind, []).append((labels[scored], hit, size))
    seeds = pd.DataFrame(lines)
    tables = dict(coverage=_coverage(seeds, kinds), seeds=seeds, classes=_classes(cell, counts))
    note = NOTE + ("" if cell.data.splits.exchangeable else NOT_ALIKE.format(rule=cell.data.splits.rule))
    if len(kinds) == 1:
        note += " Under protocol 'paper' validation rows are the test rows, and epochs were chosen on them: not even"
        note += " the halves are untouched."
    facts = dict(alpha=alpha, exchangeable=cell.data.splits.exchangeable and len(kinds) > 1)
    lean = {"set size": dict(zip(cell.seeds, seeds[seeds.calibration == TEST]["size"], strict=True))}
    return Report(tables, _sentence(tables["coverage"], seeds, alpha), columns=lean, note=note, facts=facts)


def _check(cell: Restored, alpha: float, score: str, diffusion: float) -> None:
    if cell.data.target.words != "classes of nodes":
        raise ValueError(f"conformal is for classes of nodes; this cell predicts {cell.data.target.words}")
    if not 0 < alpha < 1:
        raise ValueError(f"conformal: alpha={alpha}, expected a share in (0, 1)")
    if score not in SCORES:
        raise ValueError(f"conformal: score={score!r}, expected {' or '.join(map(repr, SCORES))}")
    if not 0 <= diffusion <= 1:
        raise ValueError(f"conformal: diffusion={diffusion}, expected a share in [0, 1]")
    if diffusion and cell.batch(0).graph is None:
        raise ValueError(f"conformal: diffusion={diffusion}, and this cell has no graph; expected 0")
    if few := [s for s, split in zip(cell.seeds, cell.prepared.splits, strict=True) if len(split.test) < 2]:
        raise ValueError(f"conformal: seed {few[0]} has fewer than 2 test rows, expected a half that calibrates")


def _scores(cell: Restored, i: int, score: str, diffusion: float, rng: np.random.Generator) -> np.ndarray:
    p = softmax(cell.prediction(i).astype(np.float64), axis=1)
    found = sets.adaptive_scores(p, rng.random(len(p))) if score == "adaptive" else sets.probability_scores(p)
    if not diffusion:
        return found
    g = cell.batch(i).graph
    return sets.diffused(found, np.asarray(g.senders), np.asarray(g.receivers), diffusion)


def _shares(hit: np.ndarray, size: np.ndarray) -> dict[str, float]:
    low, high = sets.binomial_interval(int(hit.sum()), len(hit))
    shares = dict(single=float((size == 1).mean()), larger=float((size > 1).mean()), empty=float((size == 0).mean()))
    return dict(rows=len(hit), coverage=float(hit.mean()), low=low, high=high, size=float(size.mean())) | shares


def _line(seed: int, kind: str, calibration: int, hit: np.ndarray, size: np.ndarray, alpha: float) -> dict:
    least, most = sets.expected(calibration, len(hit), alpha)
    own = _shares(hit, size)
    within = bool(least <= own["coverage"] <= most)
    ends = {"expected low": least, "expected high": most, "as expected": within}
    return {"calibration": kind, "seed": seed, "calibration rows": calibration} | own | ends


def _coverage(seeds: pd.DataFrame, kinds: tuple[str, ...]) -> pd.DataFrame:
    lines = []
    for kind in kinds:
        own = seeds[seeds.calibration == kind]
        found = over_seeds(own.coverage.to_numpy())
        line = dict(calibration=kind, coverage=found["value"], low=max(0.0, found["low"]), high=min(1.0, found["high"]))
        line |= {name: float(own[name].mean()) for name in ("size", "single", "larger", "empty")}
        lines.append(line | {"seeds as expected": f"{own['as expected'].sum()} of {len(own)}"})
    return pd.DataFrame(lines)


def _classes(cell: Restored, counts: dict) -> pd.DataFrame:
    names = cell.data.class_names or tuple(map(str, range(cell.data.target.num_outputs)))
    lines = []
    for kind, parts in counts.items():
        truth, hit, size = (np.concatenate(part) for part in zip(*parts, strict=True))
        for c, name in enumerate(names):
            if (own := truth == c).any():
                lines.append({"calibration": kind, "class": name} | _shares(hit[own], size[own]))
    return pd.DataFrame(lines)


def _sentence(coverage: pd.DataFrame, seeds: pd.DataFrame, alpha: float) -> str:
    first = coverage.iloc[0]
    whose = "one seed" if seeds.seed.nunique() == 1 else f"{seeds.seed.nunique()} seeds"
    text = (
        f"Over {whose} sets stated to hold the true class in {1 - alpha:.0%} of rows do so in {first.coverage:.1%}, "
        f"with {first['size']:.2f} classes on the average; {first.single:.0%} of rows have a single class, and in "
        f"{first.larger:.0%} the model abstains"
    )
    if len(coverage) > 1:
        text += f"; calibrated on validation rows they do so in {coverage.coverage.iloc[1]:.1%}"
    return text + "."
