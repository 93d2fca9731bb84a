"""What a seed's trained model scores under everything that a test of robustness asks it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from fusion_jax import metrics, zoo
from fusion_jax.data.missing import Nodes, lost, without
from fusion_jax.metrics.base import Scored
from fusion_jax.results.altered import rewired, under_features, under_graph, under_masks
from fusion_jax.results.recorded import at
from fusion_jax.results.restore import Restored
from fusion_jax.training.prepare import select_modalities

PER_MODALITY = "one_modality"  # has a curve for each


@dataclasses.dataclass(frozen=True)
class Curve:
    """What is done to the nodes: a mechanism of `data.missing`, of one modality where it is of one."""

    mechanism: str
    modality: str = ""

    @property
    def options(self) -> dict[str, str]:
        return {"modality": self.modality} if self.modality else {}


def curves(cell: Restored, mechanisms: Sequence[str]) -> tuple[list[Curve], list[str]]:
    """The curves of the named mechanisms, all there are if none is named; and what those that refuse this cell say.

    Raises:
        ValueError: an unknown mechanism; or one that is named and refuses.
    """
    nodes, found, refused = nodes_of(cell), [], []
    for name in mechanisms or zoo.names("missing"):
        each = nodes.features if zoo.short(name) == PER_MODALITY else ("",)
        try:
            lost(name, nodes, np.random.default_rng(0))
        except ValueError as error:
            if mechanisms:
                raise
            refused.append(str(error))
            continue
        found += [Curve(name, modality) for modality in each]
    return found, refused


def nodes_of(cell: Restored) -> Nodes:
    """The cell's nodes with its modalities in order, as complete as they are in its training."""
    part = cell.plan.data
    data = without(cell.data, part.missing.name, part.missing.options, part.graph)
    features, mask = select_modalities(data, part.modalities, part.graph)
    return dataclasses.replace(Nodes.of(data, part.graph), features=features, mask=mask)


def score(cell: Restored, i: int, prediction: np.ndarray) -> float:
    """The primary metric of the i-th seed's test rows, of a prediction [R, C] of all rows."""
    rows = cell.prepared.splits[i].test
    return metrics.score(Scored(at(cell.data.target, rows), prediction[rows]), cell.primary)


def of_masks(cell: Restored, i: int, keep: np.ndarray) -> np.ndarray:
    """[K], the score under masks bool [K, N, M] of what the nodes keep."""
    more = len(cell.batch(i).mask) - keep.shape[1]  # rows that stand for no node
    masks = np.pad(keep, ((0, 0), (0, more), (0, 0)))
    return np.array([score(cell, i, one) for one in under_masks(cell, i, masks)])


def of_curve(cell: Restored, i: int, curve: Curve, nodes: Nodes, rates: Sequence[float], repeats: int) -> np.ndarray:
    """[K], the score of the i-th seed where the mechanism takes away at each of the rates, meaned over draws."""
    keep = [
        ~lost(curve.mechanism, nodes, _generator(cell, i, draw), rate=rate, **curve.options)
        for draw in range(repeats)
        for rate in rates
    ]
    return of_masks(cell, i, np.stack(keep)).reshape(repeats, len(rates)).mean(0)


def of_noise(cell: Restored, i: int, levels: Sequence[float], repeats: int) -> np.ndarray:
    """[K], the score where to every value is added normal noise of that many of its modality's standard deviations.

    The deviation is the square root of the columns' mean variance over the nodes that have the modality.
    """
    mask, names = np.asarray(cell.batch(i).mask), cell.prepared.batch.names

    def once(level: float, draw: int) -> float:
        rng = _generator(cell, i, draw)

        def noisy(name: str, x: np.ndarray) -> np.ndarray:
            has = mask[:, names.index(name)]
            deviation = np.sqrt(x[has].var(0).mean()) if has.any() else 0.0
            return x + level * deviation * rng.normal(size=x.shape)

        return score(cell, i, under_features(cell, i, noisy))

    return np.array([[once(level, draw) for level in levels] for draw in range(repeats)]).mean(0)


def of_edges(cell: Restored, i: int, shares: Sequence[float], repeats: int) -> np.ndarray:
    """[K], the score where a share of the edges leads elsewhere (`results.altered.rewired`)."""

    def once(share: float, draw: int) -> float:
        return score(cell, i, under_graph(cell, i, rewired(cell, i, share, _generator(cell, i, draw))))

    return np.array([[once(share, draw) for share in shares] for draw in range(repeats)]).mean(0)


def _generator(cell: Restored, i: int, draw: int) -> np.random.Generator:
    """The same whatever the level is, so that what is gone at a low one is gone at a higher one."""
    return np.random.default_rng([cell.seeds[i], draw])
