"""The cases: what is computed, at which size, and the arrays that both sides make from one seed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

SEED = 0


@dataclasses.dataclass(frozen=True)
class Shape:
    """The size of a data set: widths [M] of its modalities, some with words (few entries a row that are not 0)."""

    nodes: int
    edges: int
    widths: tuple[int, ...]
    classes: int
    words: tuple[int, ...] = ()

    def of(self, nodes: int) -> Shape:
        """With so many nodes, and edges in proportion."""
        return dataclasses.replace(self, nodes=nodes, edges=_in_proportion(self, nodes))


@dataclasses.dataclass(frozen=True)
class Case:
    """What all cases say of themselves. The family of "C-64" is "C"; either names it on the command line."""

    name: str
    title: str
    suites: tuple[str, ...] = ("cpu",)
    alone: bool = False  # there is nothing to compare with

    @property
    def family(self) -> str:
        return self.name.partition("-")[0]


@dataclasses.dataclass(frozen=True)
class Training(Case):
    """A model of linear encoders, fusion, graph layers and a head, trained for so many epochs, one seed or several.

    Attributes:
        data, options: the data set by the name of its loader, and the loader's options; "" for one made from the seed.
        shape: of what is made from the seed where that data set is not to be found.
        scale: how features are scaled (`data.scale`).
        hidden: the width inside `concat_mlp`.
    """

    data: str = ""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    shape: Shape = Shape(351, 1500, (200, 200, 200), 2)
    scale: str = "modality"
    fusion: str = "self_attention"
    hidden: int = 64
    layer: str = "gcn"
    heads: int = 8
    layers: int = 2
    dim: int = 64
    rate: float = 0.5
    learning_rate: float = 3e-3
    weight_decay: float = 5e-4
    epochs: int = 200
    seeds: int = 1
    unit: str = "s"

    def resized(self, nodes: int, epochs: int = 0) -> Training:
        own = dataclasses.replace(self, epochs=epochs or self.epochs)
        own = dataclasses.replace(own, data="", options={}, shape=self.shape.of(nodes)) if nodes else own
        return dataclasses.replace(own, title=_told(self, f"{own.shape.nodes} nodes", f"{own.epochs} epochs"))

    @property
    def peers(self) -> tuple[str, ...]:
        return ("eager", "compiled", "csr") if self.layer == "gcn" else ("eager", "compiled")


@dataclasses.dataclass(frozen=True)
class Propagate(Case):
    """y_i = sum of x_j over the edges j -> i, and with `backward` the gradient of sum y^2."""

    nodes: int = 20_000
    edges: int = 400_000
    width: int = 64
    backward: bool = False
    unit: str = "ms"
    peers = ("eager", "compiled", "csr")

    def resized(self, nodes: int, epochs: int = 0) -> Propagate:
        del epochs
        return _of_nodes(self, nodes, edges=_in_proportion(self, nodes)) if nodes else self

    @property
    def moved(self) -> float:
        """Bytes, as if no cache held a row that several edges read: a row and an id an edge, a row a node; backward
        the same along the reverse edges, with y read and its gradient written between."""
        forward = 4.0 * (self.edges * (self.width + 1) + self.nodes * self.width)
        return 2 * forward + 8.0 * self.nodes * self.width if self.backward else forward


@dataclasses.dataclass(frozen=True)
class Attending(Case):
    """One GAT layer on a large graph: gradients of sum y^2, of features and parameters."""

    nodes: int = 169_000
    edges: int = 1_200_000
    width: int = 64
    heads: int = 8
    unit: str = "ms"
    peers = ("eager", "compiled")

    def resized(self, nodes: int, epochs: int = 0) -> Attending:
        del epochs
        return _of_nodes(self, nodes, edges=_in_proportion(self, nodes)) if nodes else self


@dataclasses.dataclass(frozen=True)
class Modalities(Case):
    """Attention over the M modalities of every node, averaged to [N, D]; forward.

    Attributes:
        whole: with the projections to queries, keys and values; else these three are given.
    """

    nodes: int = 1_000_000
    modalities: int = 4
    width: int = 64
    whole: bool = False
    unit: str = "ms"
    peers = ("eager", "compiled")

    def resized(self, nodes: int, epochs: int = 0) -> Modalities:
        del epochs
        return _of_nodes(self, nodes) if nodes else self

    @property
    def moved(self) -> float:
        """Bytes that cannot be avoided: what is given is read once, the result is written once."""
        return 4.0 * self.nodes * self.width * (self.modalities * (1 if self.whole else 3) + 1)


@dataclasses.dataclass(frozen=True)
class Study(Case):
    """A whole study by the command: from an empty compilation cache, or from one that an earlier run has left."""

    study: str = "ablations.quickstart"
    seeds: int = 5
    epochs: int = 0  # the study's own
    cold: bool = False
    unit: str = "s"
    peers = ("eager",)

    def resized(self, nodes: int, epochs: int = 0) -> Study:
        del nodes  # the data are the study's
        return dataclasses.replace(self, epochs=epochs, title=_told(self, f"{epochs} epochs")) if epochs else self


def _told(case: Case, *what: str) -> str:
    return f"{case.title} (here {', '.join(what)})"


def _of_nodes(case: Any, nodes: int, **more: int) -> Any:
    return dataclasses.replace(case, nodes=nodes, title=_told(case, f"{nodes} nodes"), **more)


def _in_proportion(of: Any, nodes: int) -> int:
    return max(1, round(of.edges * nodes / of.nodes))


_ROSMAP = dict(data="rosmap", options=dict(neighbours=3), shape=Shape(351, 1500, (200, 200, 200), 2))
_CORA = dict(data="cora", shape=Shape(2708, 10556, (1433, 128), 7, words=(0,)), scale="row", fusion="concat_mlp")
_DIGITS = dict(data="digits", shape=Shape(1797, 24588, (64, 40, 32, 16), 10), fusion="concat_mlp")
_PRODUCT = "propagate 20k nodes, 400k edges, width"
_M4 = "modality attention, M = 4, D = 64"

CASES: tuple[Case, ...] = (
    Training("A", "rosmap, self-attention + 2 GCN, 200 epochs", **_ROSMAP),
    Training("A-10", "the same, 10 seeds", **_ROSMAP, seeds=10),
    Training("B", "Cora, linear + concat_mlp + 2 GCN, 100 epochs", **_CORA, epochs=100),
    Training("B-gat", "the same with GAT of 8 heads", **_CORA, layer="gat", epochs=100),
    Training("digits", "digits, 4 modalities, concat_mlp + 2 GCN, 200 epochs", **_DIGITS),
    Propagate("C-64", f"{_PRODUCT} 64, forward"),
    Propagate("C-64-grad", f"{_PRODUCT} 64, forward + backward", backward=True),
    Propagate("C-256", f"{_PRODUCT} 256, forward", width=256),
    Propagate("C-256-grad", f"{_PRODUCT} 256, forward + backward", width=256, backward=True),
    Attending("D", "GAT 8 x 8, 169k nodes, 1.2M edges, forward + backward", ("cpu", "scale")),
    Modalities("E", f"{_M4}, of q, k, v", ("gpu", "scale")),
    Modalities("E-whole", f"{_M4}, with projections", ("gpu", "scale"), whole=True),
    Study("F-cold", "the quickstart, 5 seeds, no program compiled before", (), cold=True),
    Study("F-warm", "the quickstart, 5 seeds, all programs compiled before", ()),
    Training(
        "cora64",
        "Cora, GAT of 8 heads, 64 seeds, 100 epochs",
        ("gpu",),
        True,
        **_CORA,
        layer="gat",
        epochs=100,
        seeds=64,
    ),
    Training(
        "arxiv",
        "169k nodes, 1.2M edges, GAT of 8 heads, 10 epochs",
        ("gpu", "scale"),
        True,
        shape=Shape(169_343, 1_166_243, (128,), 40),
        fusion="concat_mlp",
        layer="gat",
        epochs=10,
    ),
)
SUITES = ("cpu", "gpu", "scale")


def chosen(suite: str, names: list[str]) -> list[Case]:
    """The cases of a suite, or those of any suite that are named, by name or family.

    Raises:
        ValueError: a name that is neither.
    """
    known = {name for case in CASES for name in (case.name, case.family)}
    for name in names:
        if name not in known:
            raise ValueError(f"no case {name!r}; there are: {', '.join(case.name for case in CASES)}")
    if names:
        return [case for case in CASES if case.name in names or case.family in names]
    return [case for case in CASES if suite in case.suites]


def edges(nodes: int, count: int) -> np.ndarray:
    """int32 [2, E], senders and receivers: few nodes send most, as in citations. No loops, and no edge twice: libraries
    differ in what those mean.

    Raises:
        ValueError: there are not so many.
    """
    if count > nodes * (nodes - 1) // 2:
        raise ValueError(f"{count} edges among {nodes} nodes; expected at most half of those that there can be")
    rng, found = np.random.default_rng(SEED), np.zeros(0, np.int64)
    while len(found) < count:
        senders = (rng.pareto(1.5, count) * nodes / 20).astype(np.int64) % nodes
        receivers = rng.integers(0, nodes, count)
        apart = senders != receivers
        found = np.unique(np.concatenate([found, (senders * nodes + receivers)[apart]]))
    return np.stack(np.divmod(rng.permutation(found)[:count], nodes)).astype(np.int32)


def values(*sizes: int, number: int = 0) -> np.ndarray:
    """Normal values, float32; another `number` gives others."""
    return np.random.default_rng([SEED, number]).standard_normal(sizes, dtype=np.float32)


def made(shape: Shape) -> dict[str, np.ndarray]:
    """A data set's arrays: x0, x1, ... [N, d_m], edges [2, E], labels [N]. Features shift a little with the class."""
    labels = np.random.default_rng(SEED).permutation(np.arange(shape.nodes, dtype=np.int32) % shape.classes)
    found = dict(edges=edges(shape.nodes, shape.edges), labels=labels)
    for m, width in enumerate(shape.widths):
        x = values(shape.nodes, width, number=2 * m) + 0.3 * values(shape.classes, width, number=2 * m + 1)[labels]
        # 1 in 80, as in Cora's bags of words
        found[f"x{m}"] = (x > np.quantile(x, 1 - 1 / 80)).astype(np.float32) if m in shape.words else x
    return found


def as_dict(case: Case) -> dict[str, Any]:
    """The case as JSON can hold it."""
    return dict(kind=type(case).__name__, **dataclasses.asdict(case))


def of_dict(held: dict[str, Any]) -> Case:
    """The case that `as_dict` gave."""
    held = dict(held)
    kind = {each.__name__: each for each in (Training, Propagate, Attending, Modalities, Study)}[held.pop("kind")]
    if "shape" in held:
        shape = {k: tuple(v) if isinstance(v, list) else v for k, v in held["shape"].items()}
        held["shape"] = Shape(**shape)
    return kind(**{**held, "suites": tuple(held["suites"])})
