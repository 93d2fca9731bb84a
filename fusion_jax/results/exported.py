"""Reads an exported predictor (`results.export`) and asks it: without its cell, its data set and its store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath

from fusion_jax import folders
from fusion_jax.arrays import refuse
from fusion_jax.data.arrivals import Arrivals, Edges, arrivals, by_graph, edges_among
from fusion_jax.results.export import OWN, VERSION, digest, exporter
from fusion_jax.results.prediction import Prediction
from fusion_jax.results.store import read_json

BEFORE = 1  # the version whose programs return values in their own units, and whose manifests have no sha256
PROGRAM, DATA = (
    ("program", "sha256", "arguments", "nodes", "edges"),
    ("modalities", "columns", "edge_sets", "old", "ids"),
)
FIELDS = (*PROGRAM, *DATA, "seeds", "target", "classes")


class Exported:
    """An exported predictor.

    Attributes:
        manifest: what stands in manifest.json.
        program: the `jax.export.Exported`.
        ids: of the old nodes.
    """

    def __init__(self, manifest: Mapping[str, Any], program: Any):
        self.manifest, self.program = manifest, program
        self._call = jax.jit(program.call)
        count, ids = manifest["old"], manifest["ids"]
        self.ids = [str(i) for i in range(count)] if ids is None else ids

    def __call__(
        self,
        x: Mapping[str, Any],
        ids: Any = None,
        edges: Any = None,
        mask: Any = None,
        *,
        graphs: Any = None,
        directed: bool | None = None,
    ) -> Prediction:
        """As the predictor that was exported (`Predictor.__call__`).

        Raises:
            ValueError: whatever does not fit; so too more nodes or edges than a program of fixed size has room for.
        """
        about = self.manifest
        level = about["target"]["level"]
        if (graphs is not None) != (level == "graph"):
            refuse("graphs", "none" if graphs is None else "given", f"some where graphs are predicted, not {level}s")
        new = arrivals(x, about["modalities"], ids=ids, mask=mask, known=self.ids, columns=about["columns"])
        called, sizes = new.ids, None
        if level == "graph":
            new, sizes, called = by_graph(new, graphs)
        found = {}
        if sets := self._edge_sets():  # models that read no graph are asked with the edges that others are asked with
            found = edges_among(edges, new.ids, self.ids, sets, directed)
        said = jax.tree.map(np.asarray, self._call(self._given(new, found, sizes)))
        each = _in_units(said["prediction"][:, : len(called)], about.get("units"))
        unsure = said["uncertainty"][:, : len(called)] if "uncertainty" in said else None
        return Prediction(called, tuple(about["seeds"]), each, unsure, about["target"], tuple(about["classes"]))

    def _edge_sets(self) -> dict[str, tuple[tuple[str, ...], bool]]:
        """{edge set: its edge arrays, and whether it has every edge in both directions}."""
        arrays = self.manifest["arguments"].get("edges", {})
        return {
            name: (tuple(k for k in arrays[name] if k not in ("senders", "receivers")), both)
            for name, both in self.manifest["edge_sets"].items()
        }

    def _given(self, new: Arrivals, found: Mapping[str, Edges], sizes: np.ndarray | None) -> dict[str, Any]:
        """The program's argument: padded where it is of fixed size, and with one edge that counts as none at least."""
        about, wanted = self.manifest, self.manifest["arguments"]
        room = len(new) if about["nodes"] is None else about["nodes"]
        given: dict[str, Any] = dict(
            x={name: _padded(new.features[name], room, "nodes") for name in about["modalities"]},
            mask=_padded(new.mask, room, "nodes"),
        )
        if "edges" in wanted:
            given["edges"] = {
                name: _edges(found.get(name), own, about["edges"]) for name, own in wanted["edges"].items()
            }
        if sizes is not None:
            given["sizes"] = _padded(sizes, len(sizes) if about["nodes"] is None else about["nodes"], "graphs")
        return given


def load_exported(path: str | os.PathLike) -> Exported:
    """The exported predictor in a folder.

    Raises:
        ImportError: flatbuffers is not installed.
        FileNotFoundError: there is no manifest.
        Damaged: the manifest or the program is not the one that was written; names the field that is missing.
        ValueError: another version wrote it.
    """
    kit, folder = exporter(), epath.Path(folders.expand(path))
    manifest = _checked(read_json(folder / "manifest.json"), os.fspath(folder / "manifest.json"))
    content = folders.read_checked(folder / manifest["program"], manifest["sha256"])
    return Exported(manifest, kit.deserialize(bytearray(content)))


def _checked(manifest: Any, where: str) -> Mapping[str, Any]:
    """The manifest, if it is one as `export` writes it."""
    if not isinstance(manifest, Mapping):
        raise folders.Damaged(f"{where}: a {type(manifest).__name__}; expected the fields of an exported predictor")
    if manifest.get("version") not in (VERSION, BEFORE):
        raise ValueError(f"{where}, field 'version': {manifest.get('version')!r}; expected {VERSION}")
    for field in FIELDS:
        if field not in manifest:
            raise folders.Damaged(f"{where}: no field {field!r}; expected it in the manifest of an exported predictor")
    if manifest["version"] == VERSION and manifest.get(OWN) != (found := digest(manifest)):
        raise folders.Damaged(
            f"{where} is damaged: the sha256 of its fields is {found}, {manifest.get(OWN)} was written"
        )
    return manifest


def _in_units(prediction: np.ndarray, units: Mapping[str, Any] | None) -> np.ndarray:
    """Values [S, n, C] in their own units, in float64; what has none as it is."""
    if units is None:
        return prediction
    shift, scale = (np.array(units[what], np.float64)[:, None] for what in ("shift", "scale"))
    return prediction.astype(np.float64) * scale + shift


def _padded(array: np.ndarray, rows: int, what: str) -> np.ndarray:
    if len(array) > rows:
        raise ValueError(f"{len(array)} {what}: the program was exported for {rows}")
    return np.concatenate([array, np.zeros((rows - len(array), *array.shape[1:]), array.dtype)])


def _edges(found: Edges | None, wanted: Mapping[str, Any], room: int | None) -> dict[str, np.ndarray]:
    """Senders, receivers and edge arrays, behind them edges of node -1 with itself, which count as none."""
    count = 0 if found is None else len(found.senders)
    rows = max(count, 1) if room is None else room
    if count > rows:
        raise ValueError(f"{count} edges: the program was exported for {rows}")
    made = {}
    for name, (dtype, shape) in wanted.items():
        if name in ("senders", "receivers"):
            own = np.zeros(0, np.int32) if found is None else getattr(found, name)
            made[name] = np.concatenate([own, np.full(rows - count, -1)]).astype(dtype)
        else:
            behind = tuple(int(size) for size in shape.strip("()").split(",")[1:] if size.strip())
            own = np.zeros((0, *behind)) if found is None else found.arrays[name]
            made[name] = np.concatenate([own, np.zeros((rows - count, *behind))]).astype(dtype)
    return made
