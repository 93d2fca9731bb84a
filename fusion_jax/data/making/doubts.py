"""What looks like a mistake of alignment: rows, labels or edges that stand at other nodes than their own.

Looked at are the labels of the training rows of seed 0 and the features of all nodes; nothing of it changes the data.
That a graph tells nothing of the labels is no mistake by itself: a warning needs a second sign.
"""

from __future__ import annotations

import jraph
import numpy as np
import scipy.sparse as sp

from fusion_jax.arrays import spread
from fusion_jax.data.graphs import FromFeatures, knn
from fusion_jax.data.making.agreement import (
    WIDTH,
    Agreement,
    adjusted_homophily,
    agreement,
    closure,
    directions,
    mixing,
)
from fusion_jax.data.making.report import Conversion, count, some
from fusion_jax.records import Target

CHANCE, SURE = 0.05, 0.01  # p above which something may be chance, and up to which it is none
SHARED = 0.005  # p up to which two modalities surely know of each other
STRUCTURE, APART = 1e-3, 4.0  # p, and deviations from random graphs, of a graph that is taken for no random one
LARGEST = 500_000  # edges of a graph whose eigenvalues are asked for
FEW = 20  # edges that tell too little
NEAR = 3  # neighbours in all modalities together, of which labels that only some of them make together need few
NEAREST, NODES = 5, 2000  # neighbours in features, of at most so many nodes
LARGE, ALONE = 100.0, 0.95  # of a usual column's spread; share of a column's spread that one value makes


def look(
    features: dict[str, np.ndarray],
    mask: np.ndarray,
    graphs: dict[str, jraph.GraphsTuple],
    target: Target,
    train: np.ndarray,
    names: dict[str, list[str]],
    report: Conversion,
) -> None:
    """Says of every given edge set how labels and modalities agree with it, and warns where something contradicts.

    Args:
        features: {modality: float [N, d]}, filled.
        graphs: the edge sets; those made from the features are looked at for homophily only.
        train: row numbers of training rows.
        names: {modality: its columns}.
    """
    _columns(features, mask, names, report)
    told = marks(target)
    for name, g in graphs.items():
        a, b = pairs(g)
        found = _labels(name, told, target, train, a, b, report)
        if not isinstance(g, FromFeatures):
            _alignment(name, found, features, mask, told, train, (a, b), report)


def marks(target: Target) -> np.ndarray | None:
    """float [N, q], a target as vectors whose products say how alike two are; None where there is no such form."""
    if target.kind == "classes":
        return np.eye(target.num_outputs)[target.labels]
    if target.kind == "labels":
        return directions(target.labels)
    if target.kind == "values":
        values = np.asarray(target.values, np.float64)
        deviation = spread(values)
        return (values - values.mean(0)) / np.where(deviation > 0, deviation, np.inf) / np.sqrt(values.shape[1])
    if target.kind == "several":
        return marks(next(iter(target.fields.values())))
    return None


def pairs(g: jraph.GraphsTuple) -> tuple[np.ndarray, np.ndarray]:
    """Every joined pair of nodes once, whatever the direction, without loops."""
    low, high = np.minimum(g.senders, g.receivers), np.maximum(g.senders, g.receivers)
    n = int(np.sum(g.n_node))
    code = np.unique(low[low != high].astype(np.int64) * n + high[low != high])
    return code // n, code % n


def _labels(name, told, target: Target, train, a, b, report: Conversion) -> Agreement | None:
    """Homophily among training nodes: a line, and what a permutation says of it."""
    if told is None or len(a) == 0:
        return None
    here = np.zeros(len(told), bool)
    here[train] = True
    both = here[a] & here[b]
    if both.sum() < FEW:
        report.say(f"graph {name}: {count(int(both.sum()), 'edge')} between training nodes: too few to judge homophily")
        return None
    found = agreement(told, a[both], b[both])
    way = "as chance has it" if found.above > CHANCE else "more than chance has"
    way = "less than chance has: unlike nodes are joined" if found.below <= SURE else way
    facts = dict(value=found.value, chance=found.chance, p=found.above, edges=found.edges)
    if target.kind == "classes":
        facts["adjusted"] = adjusted_homophily(target.labels, a[both], b[both], target.num_outputs)
        report.say(
            f"graph {name}: {found.value:.0%} of {found.edges:,} edges between training nodes join one class, {way} "
            f"({found.chance:.0%}); adjusted for classes and degrees {facts['adjusted']:.2f}"
        )
    else:
        what = f"Moran's I of the targets of training nodes is {found.value:.2f} over {count(found.edges, 'edge')}"
        report.say(f"graph {name}: {what}, {way}; p {found.above:.3f}")
    report.facts.setdefault("homophily", {})[name] = facts
    return found


def _alignment(name, labels: Agreement | None, features, mask, told, train, edges, report: Conversion) -> None:
    """The modalities against a given edge set, and the warnings that follow from all agreements together."""
    across = _likeness(features, mask, *edges)
    if not across:
        return
    facts = {m: dict(value=found.value, chance=found.chance, p=found.above) for m, found in across.items()}
    report.facts.setdefault("similarity", {})[name] = facts
    shown = [f"{m} {found.value:.2f} (p {found.above:.3f})" for m, found in across.items()]
    report.say(f"graph {name}: likeness across edges, 0 for random pairs: {', '.join(shown)}")
    known = [m for m, found in across.items() if found.above <= SURE]
    at_chance = labels is not None and labels.above > CHANCE and labels.below > SURE
    agrees = labels is not None and labels.above <= SURE
    if agrees and not known and len(across) > 1:
        _doubt_features(name, across, features, mask, told, train, report)
    if at_chance and not known:
        _doubt_edges(name, *edges, len(mask), report)
    if at_chance and known:
        _doubt_labels(name, known, features, mask, told, train, report)
    if known:
        strange = {m: found for m, found in across.items() if found.above > CHANCE}
        _doubt_modalities(name, strange, known, features, mask, told, train, report)


def _likeness(features, mask: np.ndarray, a: np.ndarray, b: np.ndarray) -> dict[str, Agreement]:
    """{modality: agreement with the edges between nodes that have it}, where they are not too few."""
    found = {}
    for m, (modality, x) in enumerate(features.items()):
        there = mask[a, m] & mask[b, m]
        if there.sum() >= FEW:
            found[modality] = agreement(_directions(x, mask[:, m]), a[there], b[there])
    return found


def _doubt_edges(name: str, a: np.ndarray, b: np.ndarray, nodes: int, report: Conversion) -> None:
    """Nothing knows of the edges: a warning where these have a structure of their own."""
    closed, expected, p = closure(a, b, nodes)
    facts = dict(closed=closed, chance=expected, p=p)
    apart = 0.0
    if p > STRUCTURE and len(a) <= LARGEST:
        second, usual, apart = mixing(a, b, nodes)
        facts |= dict(second_eigenvalue=second, usual=usual, deviations=apart)
    report.facts.setdefault("structure", {})[name] = facts
    if p > STRUCTURE and apart < APART:
        report.say(f"graph {name}: like a random graph; neither labels nor features have to do with it")
        return
    how = f"{closed:.1%} of neighbours' pairs are joined, {expected:.1%} in a random graph"
    how = (
        how if p <= STRUCTURE else f"it falls into parts, second eigenvalue {second:.2f}, {usual:.2f} in a random graph"
    )
    report.warn(
        f"graph {name}: its edges have a structure of their own ({how}), but neither labels nor features know of it "
        "(homophily at chance): are its ids those of the other files? (A graph that has nothing to do with them looks "
        "the same.)"
    )


def _doubt_features(name: str, across, features, mask, told, train, report: Conversion) -> None:
    """Edges and labels know of each other, and modalities of each other, but none of edges or labels: a warning.

    Modalities that know of each other are what makes it more than features that tell nothing of the labels.
    """
    z = {m: _directions(x, mask[:, i]) for i, (m, x) in enumerate(features.items())}
    present = {m: mask[:, i] for i, m in enumerate(features)}
    every = np.concatenate(list(z.values()), axis=1)
    together = near_labels(every, np.ones(len(mask), bool), told, train, nearest=NEAR)  # what none of them tells alone
    alone = [*across.values(), *(near_labels(z[m], present[m], told, train) for m in z)]
    found = [a.above for a in alone if a is not None]
    if min(found) <= CHANCE / len(found) or together is None or together.above <= CHANCE:
        return
    shared = {(m, o): _shared(z[m], z[o], present[m] & present[o]) for m in z for o in z if m < o}
    alike = [pair for pair, a in shared.items() if a is not None and a.above <= SHARED / len(shared)]
    if alike:
        report.warn(
            f"graph {name} agrees with the labels, and the modalities {some(alike[0])} with each other, but no "
            "modality with graph or labels: do the ids of the features belong to the same nodes? (Features that tell "
            "nothing of the labels look the same.)"
        )


def _shared(one: np.ndarray, other: np.ndarray, present: np.ndarray) -> Agreement | None:
    """Whether nodes that are near in one modality are alike in the other."""
    rows = np.flatnonzero(present)
    if len(rows) < 2 * NEAREST:
        return None
    if len(rows) > NODES:
        rows = np.sort(np.random.default_rng(0).choice(rows, NODES, replace=False))
    return agreement(other[rows], *pairs(knn(one[rows], NEAREST)), draws=round(10 / SHARED) - 1)


def _doubt_labels(name: str, known: list[str], features, mask, told, train, report: Conversion) -> None:
    """Edges and features know of each other, the labels of neither: a warning."""
    together = np.concatenate([_directions(x, mask[:, m]) for m, x in enumerate(features.values())], axis=1)
    found = near_labels(together, np.ones(len(mask), bool), told, train)
    if found is not None and found.above > CHANCE:
        report.warn(
            f"graph {name} agrees with {some(known)}, but the labels with neither graph nor features: do the ids of "
            "the labels belong to the same nodes? (Labels that nothing tells anything of look the same.)"
        )


def _doubt_modalities(name: str, strange, known: list[str], features, mask, told, train, report: Conversion) -> None:
    """Edges know of some modalities: a warning for each that knows of neither edges nor labels."""
    for modality, across in strange.items():
        present = mask[:, list(features).index(modality)]
        found = near_labels(_directions(features[modality], present), present, told, train)
        if found is None or found.above > CHANCE:
            report.warn(
                f"modality {modality}: nodes joined by graph {name!r} are no more alike in it than random pairs (p "
                f"{across.above:.2f}), while they are in {some(known)}, and its neighbours do not share labels: are "
                "its rows those of the ids? (A modality that has nothing to do with the others looks the same.)"
            )


def _directions(x: np.ndarray | sp.csr_matrix, present: np.ndarray, seed: int = 0) -> np.ndarray:
    """Unit vectors of the nodes that are present, 0 elsewhere; of a sparse matrix those of random projections."""
    if sp.issparse(x):
        x = x @ np.random.default_rng(seed).normal(size=(x.shape[1], WIDTH))
    made = np.zeros((len(x), x.shape[1]))
    if present.any():
        made[present] = directions(x[present])
    return made


def near_labels(
    z: np.ndarray, present: np.ndarray, told, train: np.ndarray, seed: int = 0, nearest: int = NEAREST
) -> Agreement | None:
    """Whether training nodes near in z [N, d] have like labels; None where there are too few."""
    rows = train[present[train]]
    if told is None or len(rows) < 2 * nearest:
        return None
    if len(rows) > NODES:
        rows = np.sort(np.random.default_rng(seed).choice(rows, NODES, replace=False))
    a, b = pairs(knn(z[rows], nearest))
    return agreement(told[rows], a, b)


def _columns(features, mask, names, report: Conversion) -> None:
    """Constant columns, and those that leave nothing of the others in one common scale."""
    for m, (modality, x) in enumerate(features.items()):
        if sp.issparse(x) or not mask[:, m].any():
            continue
        x, called = x[mask[:, m]], names.get(modality) or [str(i) for i in range(x.shape[1])]
        deviation = spread(x)
        constant, varies = np.flatnonzero(deviation == 0), deviation > 0
        if constant.size:
            shown = some(called[c] for c in constant)
            report.say(f"{modality}: {count(constant.size, 'column')} of {x.shape[1]} constant ({shown})")
            report.facts.setdefault("constant", {})[modality] = [called[c] for c in constant]
        if varies.sum() < 2:
            continue
        usual = np.median(deviation[varies])
        largest = np.abs(x - x.mean(0, dtype=np.float64)).max(0)
        wide = deviation > LARGE * usual
        alone = (len(x) > FEW) & (largest > np.maximum(ALONE * np.sqrt(len(x) - 1) * deviation, LARGE * usual))
        far = f"has more than {LARGE:.0f} times the spread of a usual one"
        for found, what, do in (
            (alone, "owes its spread to one value alone", "is it right?"),
            (wide & ~alone, far, "data.scale='column' suits it"),
        ):
            if (columns := np.flatnonzero(found)).size:
                worst = columns[deviation[columns].argmax()]
                more = f" (and so {columns.size - 1} more)" if columns.size > 1 else ""
                reach = f"{np.abs(x[:, worst]).max():.3g}"
                report.say(f"{modality}: column {called[worst]!r}{more} {what}, and reaches {reach}: {do}")
                report.facts.setdefault("exploding", {}).setdefault(modality, []).extend(called[c] for c in columns)
