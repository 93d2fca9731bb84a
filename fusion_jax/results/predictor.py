"""Predicts for nodes, graphs and links that a finished cell has not seen, without the data set it was trained on.

    predictor = Predictor.load("results/quickstart", "3f0c")
    said = predictor({"rna": table, "image": array}, ids=["p81", "p82"], edges=[("p81", "p7"), ("p82", "p81")])
    said.frame()  # id, prediction, a probability a class

Nodes that arrive stand in the graph as the test nodes of the inductive setting do (`data.extended`): along edges that
are given messages run as in training, so that old nodes hear of new ones, and a prediction depends on who else arrives
in the same call; to an edge set that was made from features they are attached by its rule, and send to nobody.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from fusion_jax import tasks
from fusion_jax.arrays import refuse
from fusion_jax.data.arrivals import Arrivals, arrivals, by_graph, edges_among
from fusion_jax.data.base import Dataset
from fusion_jax.data.extended import asked_links, asked_nodes, extended, symmetric
from fusion_jax.data.missing import without
from fusion_jax.plan import Named
from fusion_jax.results import inputs
from fusion_jax.results.export import PLATFORMS, export, used
from fusion_jax.results.prediction import Prediction
from fusion_jax.results.restore import Restored, only_cell, predict_unsure, restore, whole_identity
from fusion_jax.results.store import Store
from fusion_jax.structures.base import derive
from fusion_jax.training import checkpoint
from fusion_jax.training.compilation import own_settings
from fusion_jax.training.derived import structures_of
from fusion_jax.training.prepare import STRUCTURE, Prepared, prepare


class Predictor:
    """The models of a finished cell, and what they need to predict for what is new.

    Attributes:
        cell: the restored cell, whose data set is the kept one.
        seeds: those that predict.
    """

    def __init__(self, store: Store, cell: Restored, seeds: Sequence[int], fitted: Mapping[int, Mapping[str, Any]]):
        self.store, self.cell, self.seeds, self.fitted = store, cell, tuple(seeds), fitted

    @classmethod
    def load(
        cls,
        workdir: str | os.PathLike,
        cell: str | None = None,
        seed: int | str | None = None,
        *,
        data: Dataset | None = None,
    ) -> Predictor:
        """The predictor of a finished cell.

        Args:
            cell: as many of the first characters of its identity as no other finished cell's starts with; the only
                one if None.
            seed: one of its seeds; "best" on validation rows; "all" (or None): all of them, and their mean.
            data: the data set, of a cell that has not kept it: one that an earlier version stored, or of more than
                64 MiB.
        Raises:
            FileNotFoundError: the folder holds no study.
            ValueError: no such cell or seed, a control, data that are not the cell's, or none where they are needed.
        """
        store = Store(workdir)
        if not isinstance(cell, str | None):
            refuse("cell", repr(cell), "the first characters of a cell's identity, a text")
        identity = only_cell(store) if cell is None else whole_identity(store, cell)
        kept = inputs.of_part(store, identity)
        splits = None
        if data is None:
            data = None if kept is None else inputs.data_of(store, kept)
            if data is None and not store.config(identity)["control"]["name"]:
                raise ValueError(_wants_data(store, identity, kept))
            splits = inputs.splits_of(store, identity, store.config(identity)["protocol"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what there is to say of the data was said in training
            restored = _as_it_lacked(restore(store, identity, data=data, splits=splits))
        if seed == "best":
            seed = restored.seeds[restored.place()]
        if not (seed is None or seed == "all" or isinstance(seed, int)):
            refuse("seed", repr(seed), "a seed, 'best' or 'all'")
        seeds = restored.seeds if seed in (None, "all") else (restored.seeds[restored.place(seed)],)
        return cls(store, restored, seeds, _fitted(store, identity))

    @property
    def data(self) -> Dataset:
        return self.cell.data

    @property
    def modalities(self) -> dict[str, int]:
        """{name: width} of those that the models read, in order."""
        return {name: x.shape[1] for name, x in self.cell.prepared.batch.features.items()}

    @property
    def ids(self) -> np.ndarray:
        """Strings [N], of the old nodes: those of the data set, else their numbers."""
        ids = self.data.ids
        return np.array([str(i) for i in range(self.data.num_nodes)] if ids is None else ids, dtype=object)

    def __call__(
        self,
        x: Mapping[str, Any] | None = None,
        ids: Any = None,
        edges: Any = None,
        mask: Any = None,
        *,
        pairs: Any = None,
        graphs: Any = None,
        directed: bool | None = None,
    ) -> Prediction:
        """Predictions for the rows that are new; for the old ones, as stored, where nothing is given.

        Args:
            x, ids, mask: the nodes: see `data.arrivals.arrivals`. A single value that is missing (NaN) is filled as
                in training.
            edges: pairs of ids, of nodes old or new, (sender, receiver); tables with a column an edge array
                (`data.arrivals.edges`); {edge set: those} where the cell works on several that are given.
            pairs: of ids, where links are predicted: the rows that are asked for. No edge joins them in what the models
                see, as in training, but those that they were trained on.
            graphs: [n], which graph each node is of, where graphs are predicted.
            directed: whether an edge is one in the direction given only; if None as the edge set is.
        Raises:
            ValueError: whatever does not fit; names the field, the row, what was found and what was expected. So too
                a model that cannot be asked for nodes that are new.
        """
        if x is None and pairs is None:
            return self._stored()
        new = self._arrivals({} if x is None else x, ids, mask)
        level = self.data.target.level
        for name, given, wanted in (("pairs", pairs, "link"), ("graphs", graphs, "graph")):
            if (given is not None) != (level == wanted):
                found = "none" if given is None else "given"
                refuse(name, found, f"{'some' if level == wanted else 'none'}, as this cell predicts {level}s")
        if len(new):
            self._check_can_grow()
        n_node, called, known = None, new.ids, self.ids
        if level == "graph":
            new, n_node, called = by_graph(new, graphs)
            known = ()  # graphs that arrive have nothing to do with the old ones
        joined = edges_among(edges, new.ids, known, self._joinable(), directed, self.data.num_nodes)
        old = len(self.data.target)
        target = self.data.target if level == "link" else asked_nodes(self.data.target, len(called))
        grown = extended(self.data, new, joined, target, n_node)
        rows = old + np.arange(len(called))
        if level == "link":
            asked = self._pairs(pairs, new)
            target, rows = asked_links(target, asked, grown.graphs[grown.default_graph])
            grown = dataclasses.replace(grown, target=target)
            called = np.array([f"{a}, {b}" for a, b in np.append(self.ids, new.ids)[asked]], dtype=object)
        return self._predict(grown, rows, called)

    def export(
        self,
        path: str | os.PathLike,
        platforms: Sequence[str] = PLATFORMS,
        *,
        nodes: int | None = None,
        edges: int | None = None,
    ) -> epath.Path:
        """Writes the predictor as one program for these platforms (`results.export`); returns the folder.

        Args:
            nodes, edges: for how many new nodes, and edges, at most; any number if None.
        Raises:
            ImportError: flatbuffers is not installed.
            ValueError: the cell's model cannot be exported, by name; or not for any number of nodes.
        """
        with own_settings():
            known = dict(ids=self.data.ids, fill=self._fill())
            return export(self.cell, self.seeds, path, platforms, nodes=nodes, edges=edges, **known)

    def computed(self) -> Prediction:
        """Predictions for the old rows, computed anew: the stored ones to rounding, as other programs add in another
        order."""
        ids = self.ids if self.data.target.level == "node" else np.arange(len(self.data.target)).astype(str)
        return self._predict(self.data, np.arange(len(self.data.target)), ids)

    def _stored(self) -> Prediction:
        table = self.store.table(self.cell.identity, "predictions")
        own = [table[table.seed == seed].sort_values("row") for seed in self.seeds]
        each = np.stack([np.stack(list(part.prediction)) for part in own])
        unsure = np.stack([part.uncertainty for part in own]) if "uncertainty" in table else None
        ids = self.ids if self.data.target.level == "node" else own[0].row.to_numpy().astype(str)
        return self._said(ids, each, unsure)

    @own_settings()
    def _predict(self, grown: Dataset, rows: np.ndarray, called: np.ndarray) -> Prediction:
        cell = dataclasses.replace(self.cell, data=grown, prepared=self._prepared(grown))
        each, unsure = [], []
        for seed in self.seeds:
            i = cell.seeds.index(seed)
            prediction, uncertainty = predict_unsure(cell.models[i], cell.batch(i), cell.context(i))
            each.append(cell.prepared.own_units(prediction, i)[rows])
            unsure.append(None if uncertainty is None else uncertainty[rows])
        return self._said(called, np.stack(each), None if unsure[0] is None else np.stack(unsure))

    def _said(self, ids: np.ndarray, each: np.ndarray, unsure: np.ndarray | None) -> Prediction:
        about = tasks.of(self.data.target).about(self.data.target)
        return Prediction(np.asarray(ids, object), self.seeds, each, unsure, about, self.data.class_names)

    def _prepared(self, grown: Dataset) -> Prepared:
        """The cell on the grown data set, with what was fitted in training."""
        before, plan = self.cell.prepared, self.cell.plan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            prepared = prepare(plan.data, grown, self.cell.seeds, splits=before.splits, **plan.preparing)
        prepared = dataclasses.replace(prepared, units=before.units)
        wanted = structures_of(self.cell.models[0])
        if any(wanted):  # they go on from what the old nodes had
            evaluated = derive(prepared.evaluated, *wanted, earlier=before.evaluated)
            prepared = dataclasses.replace(prepared, evaluated=tuple(evaluated))
        return dataclasses.replace(prepared, trials=self._with_fitted(prepared.trials))

    def _fill(self) -> dict[str, np.ndarray]:
        """{modality: [S, d]}, what stands for single values that are missing, of the seeds that predict."""
        data = dataclasses.replace(self.data, impute=self.data.impute or "mean")
        fill, here = self._prepared(data).trials.fill, [self.cell.seeds.index(seed) for seed in self.seeds]
        return {name: np.asarray(values)[np.array(here)] for name, values in fill.items()}

    def _with_fitted(self, trials: Any) -> Any:
        """The trials with the stored scalers of every seed, where they are stored."""
        if not self.fitted:
            return trials
        names, own = self.cell.prepared.batch.names, [self.fitted[seed] for seed in self.cell.seeds]
        held = {
            what: {name: jnp.stack([jnp.asarray(f[what][str(m)]) for f in own]) for m, name in enumerate(names)}
            for what in ("shift", "scale", "fill")
            if all(what in f for f in own)
        }
        return dataclasses.replace(trials, **held)

    def _arrivals(self, x: Mapping[str, Any], ids: Any, mask: Any) -> Arrivals:
        widths = {name: v.shape[1] for name, v in self.data.features.items()}
        return arrivals(x, widths, ids=ids, mask=mask, known=self.ids, columns=self.data.columns)

    def _check_can_grow(self) -> None:
        """Raises ValueError where a new node would change what is known of the old ones, unlike all in training."""
        found = [f"modality {STRUCTURE!r}"] if STRUCTURE in self.modalities else []
        if (self.cell.plan.data.setting or self.data.setting) == "transductive":
            declared = [s for side in structures_of(self.cell.models[0]) for s in side]
            found += [f"structure {s}" for s in declared if not s.maker.lasts]
        if found:
            raise ValueError(
                f"cell {self.cell.identity}: {found[0]} encodes the whole graph, so that a new node would change it "
                f"for all: no predictions for new nodes"
            )

    def _joinable(self) -> dict[str, tuple[list[str], bool]]:
        """{edge set that new nodes can be joined to: its edge arrays, whether it has all edges in both directions}."""
        level, graphs = self.data.target.level, self.data.graphs
        names = [name for name in used(self.cell) if level == "graph" or name not in self.data.made]
        return {name: (list(graphs[name].edges or {}), symmetric(graphs[name])) for name in names}

    def _pairs(self, pairs: Any, new: Arrivals) -> np.ndarray:
        """Node numbers [R, 2]."""
        places = {str(i): n for n, i in enumerate(np.append(self.ids, new.ids))}
        found = []
        for row, pair in enumerate(pairs):
            if len(pair) != 2 or str(pair[0]) == str(pair[1]):
                refuse("pairs", f"row {row} is {pair!r}", "two nodes")
            for name in pair:
                if str(name) not in places:
                    refuse("pairs", f"row {row} names {name!r}, which is no node, old or new", "ids of nodes")
            found.append([places[str(name)] for name in pair])
        return np.array(found, np.int64).reshape(-1, 2)


def _fitted(store: Store, identity: str) -> dict[int, Mapping[str, Any]]:
    """{seed: what was fitted on its training rows}, as stored; {} of a cell of an earlier version."""
    found = {}
    for part, seeds in store.parts(identity):
        held = checkpoint.restore(part / "checkpoint").get("inputs")
        if held is None:
            return {}
        found |= {seed: jax.tree.map(lambda a, i=i: a[i], held) for i, seed in enumerate(seeds)}
    return found


def _as_it_lacked(cell: Restored) -> Restored:
    """The cell with a data set that lacks what `data.missing` took from it: of nodes that arrive nothing is taken."""
    part = cell.plan.data
    data = without(cell.data, part.missing.name, part.missing.options, part.graph)
    plan = dataclasses.replace(cell.plan, data=dataclasses.replace(part, missing=Named("")))
    return dataclasses.replace(cell, data=data, plan=plan)


def _wants_data(store: Store, identity: str, kept: Mapping[str, Any] | None) -> str:
    part = store.config(identity)["data"]
    options = "".join(f", {k}={v!r}" for k, v in part["options"].items())
    why = "an earlier version stored it without its data" if kept is None else "its data are too large to be kept"
    return f"cell {identity}: {why}; give them: Predictor.load(..., data=data.load({part['name']!r}{options}))"
