"""How near a trained fusion is to an optimal transport of its input, class by class, and how straight it got there.

Reference: Quadrio and Candelieri, "Transformers for Tabular Data: A Training Perspective of Self-Attention via Optimal
Transport", 2025 (arXiv 2512.09530); code AleQuad43/self-attention-optimal-transport at f488e1a. Golden
`tabular-ot/metrics`, `single_cloud`, `gaussian_distance`.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np
import pandas as pd

from fusion_jax.analysis.base import Report
from fusion_jax.arrays import spread
from fusion_jax.model import Model
from fusion_jax.model.given import given
from fusion_jax.nn.transport import gaussian_distance, partners, squared_distance
from fusion_jax.records import Batch, Context, Info
from fusion_jax.results.figures import new_figure, style
from fusion_jax.results.restore import Restored, snapshots
from fusion_jax.training.compilation import own_settings

INFO = Info(
    "Quadrio and Candelieri, Transformers for Tabular Data: A Training Perspective of Self-Attention via Optimal "
    "Transport",
    2025,
    pinned="authors' code",
    golden="tabular-ot",
    cost="O(P^3) of P points of a class",
)
OF = "cell"
CHECKED_WITH = {
    "model.fusion.name": "tabular_ot",
    "model.fusion.options": dict(blocks=1, heads=2, size=4, hidden=8),
    "training.snapshots": 4,
}
NOTE = (
    "A point is a training node and a modality it has; what it starts from is the state before the fusion in the model "
    "that training begins with (of constant width D, so behind the encoders), standardised over the points, and where "
    "it goes is its token behind the fusion. Distances are roots of sums over points, not divided by their number, and "
    "efficiency compares such a root with a sum of lengths: it falls like 1 / sqrt(points) even on straight paths, and "
    "only cells with equally many points compare. Straightness (ours) does not: 1 where every path is straight. "
    "The path is that of the snapshots, so a shorter one than training went. An optimality near 1 is no praise by "
    "itself: points that move little beside the distances between them, or all alike, have no shorter way. Of one seed."
    "{left_out}"
)
LEFT_OUT = (
    " The model is that of the best epoch, {best} epochs in: snapshots at and behind it are left out (after {epochs} "
    "epochs)."
)


class Transport(NamedTuple):
    """What is said of a trajectory, class by class and in all."""

    classes: np.ndarray  # [C], those that have points
    points: np.ndarray  # int [C]
    distance: np.ndarray  # D_c [C]
    wasserstein: np.ndarray  # W_c [C], <= D_c
    plans: tuple[np.ndarray, ...]  # int [P_c] a class: the partner of each of its points, counted within the class
    matching: np.ndarray  # [C], the share of points whose partner is their own image
    lengths: np.ndarray  # [P], of the path of every point
    straight: np.ndarray  # [P], |b_i - a_i|

    @property
    def optimality(self) -> float:
        """W / D in (0, 1], 1 where nothing moves."""
        return _ratio(self.wasserstein.sum(), self.distance.sum())

    @property
    def monge_gap(self) -> float:
        """D - W >= 0, a difference of roots."""
        return float(self.distance.sum() - self.wasserstein.sum())

    @property
    def matched(self) -> float:
        """The share of all points whose partner is their own image."""
        return float((self.matching * self.points).sum() / self.points.sum())

    @property
    def efficiency(self) -> float:
        """D / C with C = the sum of all lengths, as published."""
        return _ratio(self.distance.sum(), self.lengths.sum())

    @property
    def straightness(self) -> float:
        """sum_i |b_i - a_i| / C in (0, 1] (ours), 1 where every path is straight."""
        return _ratio(self.straight.sum(), self.lengths.sum())

    @property
    def squared_gap(self) -> float:
        """(sum of squared distances - sum_c W_c^2) / P (ours), the Monge gap of squared costs."""
        return float(((self.distance**2).sum() - (self.wasserstein**2).sum()) / self.points.sum())


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b > 0 else 1.0


def transport(trajectory: np.ndarray, labels: np.ndarray) -> Transport:
    """The metrics of points that move, trajectory [S, P, D] from Z_0 to Z_E with labels int [P].

    D_c = sqrt(sum_i |a_i - b_i|^2) over the points of class c, a = Z_0 and b = Z_E; W_c the least of that over all
    ways to pair a with b within the class.
    """
    z, labels = np.asarray(trajectory, np.float64), np.asarray(labels)
    a, b = z[0], z[-1]
    classes, points = np.unique(labels, return_counts=True)
    rows = [np.flatnonzero(labels == c) for c in classes]
    plans = tuple(partners(a[own], b[own]) for own in rows)
    paired = np.array([squared_distance(a[own], b[own]) for own in rows])
    least = np.array([squared_distance(a[own], b[own[plan]]) for own, plan in zip(rows, plans, strict=True)])
    return Transport(
        classes,
        points,
        np.sqrt(paired),
        np.sqrt(np.minimum(least, paired)),  # a plan that ties with the pairing may be above it by rounding
        plans,
        np.array([(plan == np.arange(len(plan))).mean() for plan in plans]),
        np.linalg.norm(np.diff(z, axis=0), axis=-1).sum(0),
        np.linalg.norm(b - a, axis=-1),
    )


def difficulty(points: np.ndarray, labels: np.ndarray) -> float:
    """The mean over pairs of classes of the distance of the Gaussians with their means and (sample) covariances.

    NaN with fewer than two classes of two points.
    """
    own = [points[labels == c] for c in np.unique(labels)]
    said = [(x.mean(0), np.atleast_2d(np.cov(x.T))) for x in own if len(x) > 1]
    found = [gaussian_distance(*first, *second) for first, second in itertools.combinations(said, 2)]
    return float(np.mean(found)) if found else float("nan")


def standardised(x: np.ndarray) -> np.ndarray:
    """(x - mean) / sample deviation of every column in float64; 0 in one that is constant (see `arrays.spread`)."""
    sd = spread(x) * np.sqrt(len(x) / max(len(x) - 1, 1))
    x = np.asarray(x, np.float64)
    return (x - x.mean(0)) / np.where(sd > 0, sd, np.inf)


@own_settings()
def tabular_ot(cell: Restored, place: int, *, probe: int = 1000) -> Report:
    """Optimality, Monge gap, matching and efficiency of the way that one seed's tokens went in training.

    The table "transport" has a row a class and one for "all": points, distance D, wasserstein W, optimality W / D,
    monge_gap D - W, matching, and in the last row efficiency, straightness and the mean distance of two classes at the
    start (difficulty). The table "path" has a row a snapshot: epoch, and the same of the way up to there.

    Needs snapshots (training.snapshots=20 for the card's every 1/20 of training). Those behind the best epoch are left
    out; the model of the best epoch is the end.

    Args:
        place: which stored seed.
        probe: at most so many training nodes, a fixed choice: exact assignment takes the third power of the points.
    Raises:
        ValueError: probe below 2; no classes of nodes; no snapshots between start and best epoch; a fusion that returns
            no tokens, or of another width than what it is given.
    """
    if probe < 2:
        raise ValueError(f"tabular_ot: probe={probe}, expected at least 2 nodes")
    if cell.data.target.words != "classes of nodes":
        raise ValueError(f"tabular_ot looks at classes of nodes; this cell predicts {cell.data.target.words}")
    if not hasattr(cell.models[place], "fusions"):
        raise ValueError(f"tabular_ot looks at a fusion; scheme {cell.plan.scheme.name!r} of this cell trains none")
    kept, best = snapshots(cell.store, cell), cell.best_epoch(place) + 1
    epochs = [epoch for epoch in kept if epoch < best]
    if not epochs or epochs[0] != 0:
        raise ValueError(
            f"tabular_ot: cell {cell.identity} has no snapshot of its start: train it with training.snapshots=20"
        )
    batch, context = cell.batch(place), cell.context(place)
    rows = np.sort(cell.prepared.splits[place].train)
    if len(rows) > probe:
        rows = np.sort(np.random.default_rng(0).choice(rows, probe, replace=False))
    models = [kept[epoch][place] for epoch in epochs] + [cell.models[place]]
    seen = [_states(cell, model, batch, context) for model in models]
    there = seen[0][2][rows]
    node, _ = np.nonzero(there)
    labels = np.asarray(cell.data.target.labels)[rows][node]
    start = standardised(seen[0][0][rows][there])
    trajectory = np.stack([start, *(after[rows][there] for _, after, _ in seen[1:])])
    said = transport(trajectory, labels)
    path = _path(trajectory, labels, [0, *epochs[1:], best])
    known = list(cell.data.class_names) or [str(c) for c in range(cell.data.target.num_outputs)]
    table = _table(said, difficulty(start, labels), known)
    name = cell.plan.model.fusion.name
    lean = {
        column: {cell.seeds[place]: getattr(said, field)}
        for column, field in (
            ("optimality", "optimality"),
            ("Monge gap", "monge_gap"),
            ("matching", "matched"),
            ("efficiency", "efficiency"),
            ("straightness", "straightness"),
        )
    }
    sentence = (
        f"To where {name} moves the points of a class the shortest way of all would take {said.optimality:.1%} of the "
        f"distance that they went (W / D; 100%: there is no shorter one), and would send {said.matched:.1%} of them to "
        f"where they went; their paths through {len(models) - 1} stored states, up to the best epoch {best}, have a "
        f"straightness of {said.straightness:.2f} (1: a straight line)."
    )
    later = [epoch for epoch in kept if epoch >= best]
    note = NOTE.format(left_out=LEFT_OUT.format(epochs=", ".join(map(str, later)), best=best) if later else "")
    figures = {"path": functools.partial(_figure, path)}
    facts = dict(epochs=[0, *epochs[1:], best], nodes=len(rows))
    return Report({"transport": table, "path": path}, sentence, figures, columns=lean, note=note, facts=facts)


def _states(cell: Restored, model: Model, batch: Batch, context: Context) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Before the fusions and behind the last [N, M, D], and who is there in both, bool [N, M].

    Raises:
        ValueError: the fusion has no tokens, or of another width.
    """
    name = cell.plan.model.fusion.name
    (before, *_), output = given(model, batch, context)
    after, present = output.tokens[-1], np.asarray(output.present)
    if after is None:
        raise ValueError(f"tabular_ot: fusion {name!r} of this cell returns no tokens: nothing to follow")
    if after.shape != before.shape:
        raise ValueError(
            f"tabular_ot: fusion {name!r} of this cell takes {before.shape} to {after.shape}: its tokens do not live "
            "in the space of its input"
        )
    first = np.asarray(output.mask) if model.placement == "interleaved" else present
    return np.asarray(before), np.asarray(after, np.float64), present & first


def _row(said: Transport) -> dict[str, float]:
    return dict(
        points=int(said.points.sum()),
        distance=float(said.distance.sum()),
        wasserstein=float(said.wasserstein.sum()),
        optimality=said.optimality,
        monge_gap=said.monge_gap,
        matching=said.matched,
    )


def _table(said: Transport, far: float, names: list[str]) -> pd.DataFrame:
    """A row a class, then all."""
    rows = []
    for i, c in enumerate(said.classes):
        d, w = float(said.distance[i]), float(said.wasserstein[i])
        rows.append(
            {
                "class": names[c],
                "points": int(said.points[i]),
                "distance": d,
                "wasserstein": w,
                "optimality": _ratio(w, d),
                "monge_gap": d - w,
                "matching": float(said.matching[i]),
            }
        )
    rest = dict(efficiency=said.efficiency, straightness=said.straightness, difficulty=far)
    return pd.DataFrame([*rows, {"class": "all", **_row(said), **rest}])


def _path(trajectory: np.ndarray, labels: np.ndarray, epochs: list[int]) -> pd.DataFrame:
    """A row a snapshot behind the start."""
    rows = []
    for i in range(1, len(trajectory)):
        said = transport(trajectory[: i + 1], labels)
        rest = dict(efficiency=said.efficiency, straightness=said.straightness)
        rows.append(dict(epoch=epochs[i], **_row(said), **rest))
    return pd.DataFrame(rows)


def _figure(path: pd.DataFrame):
    """Optimality, matching and straightness along training."""
    fig, ax = new_figure(5, 3.5)
    for i, name in enumerate(("optimality", "matching", "straightness")):
        ax.plot(path.epoch, path[name], label=name, **style(i))
    ax.set_ylim(0, 1.05)
    ax.set_xlabel("epoch")
    ax.set_ylabel("share")
    ax.legend(fontsize="small")
    return fig
