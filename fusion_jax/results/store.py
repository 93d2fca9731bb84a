"""A study's folder: one folder a cell, every file by atomic rename, finished when the record says so.

    <workdir>/study.json                      the cells in order, with their labels, wanted seeds and configs, and
                                              how the values of tuned ones were chosen; rows that others have
                                              published; the schema of its cells; every version of its claims
                                              (`results.claims`) and its looks (`run.until`);
                                              checked where it is read (`results.study_file`)
    <workdir>/tuning.sqlite3                  the trials of cells that are tuned (Optuna)
    <workdir>/cells/<id>/config.json          the cell's full config
    <workdir>/cells/<id>/record.json          finished seeds, the parts they lie in and the sha256 of every file of
                                              each, the schema; written last
    <workdir>/cells/<id>/failure.json         traceback of the last attempt, if it failed
    <workdir>/cells/<id>/<part>/              one training of some seeds:
        environment.json                      versions, git revision, device
        cost.json                             what is predicted; parameters, flops, peak_bytes, seconds, best epochs;
                                              the rule of the splits and the digest of each seed's; diverged: [seed,
                                              epoch, cause] of finished seeds that have no result; inputs: what
                                              predictions for new nodes need (`results.inputs`); earlier: the
                                              environments of attempts that it went on from, where they were others
        metrics.parquet                       seed, part, metric, value
        history.parquet                       seed, epoch, train_loss, val_loss, val_score
        predictions.parquet                   seed, row, part, target columns, prediction; uncertainty in (0, 1]
                                              where the model states one
        checkpoint/                           Orbax: best parameters and statistics, [S, ...]; scalers and units
        snapshots/                            Orbax: {epoch: the same along training}, where some were asked for
    <workdir>/.lock, .locks/                  who writes to the folder now (`results.lock`)
    <workdir>/data/<key>.npz                  the data set, once for all cells that were trained on it

Paths are local or object storage (`gs://`, ...), through etils.epath. A file replaces another at once on both; a
folder does only where the file system renames folders, which object storage does file by file: there too a part
counts from the moment its cell's record names it.

The schema (`study.SCHEMA`) says how numbers came about: a folder of another one is read and reported as it is, but no
cell is added to its study and none of its models is restored. Files without one are of schema 1.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import reprlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from etils import epath
from pyarrow import parquet

from fusion_jax import folders, unpacked
from fusion_jax.data.base import Split
from fusion_jax.data.fingerprint import split_digest
from fusion_jax.results import study_file
from fusion_jax.results.environment import environment
from fusion_jax.study import SCHEMA, Cell
from fusion_jax.study.ranges import MOST
from fusion_jax.training.checkpoint import save

CLAIMED = "claims_sha256"  # field of environment.json: the claims that study.json held then
KEPT = ("claims", "looks")  # fields of study.json that another list of cells does not replace


class Store:
    """Reads and writes the folder of a study.

    `~` in the folder's name is the home folder; every other character stands for itself.

    Raises:
        OSError: the folder cannot be made or written to; says which and why.
        ValueError: `~user` is not known here.
    """

    def __init__(self, workdir: str | os.PathLike, *, create: bool = False):
        self.root = epath.Path(folders.expand(workdir))
        if create:
            try:
                folders.made(self.root / "cells")
                probe = self.root / f".probe-{uuid.uuid4().hex}"
                probe.write_text("")
                probe.unlink()
            except OSError as error:
                raise OSError(f"cannot write results to {os.fspath(workdir)!r}: {error}") from error

    def cell(self, identity: str) -> epath.Path:
        return self.root / "cells" / identity

    def write_study(self, cells: list[tuple[str, Cell]], source: str, published: Sequence[dict[str, Any]] = ()) -> None:
        """The list of cells the report shows, in the order of the sweep, and the rows of others beside them.

        The claims and the looks of the folder stay, whatever it lists now.

        Raises:
            ValueError: the study that is there is of another schema; its rows and the new ones would not compare.
        """
        before = self.read_study() if (self.root / "study.json").exists() else {}
        if before:
            self._check_schema(before)
        rows = [entry_of(i, c) for i, c in cells]
        held = dict(source=source, schema=SCHEMA, cells=rows, published=list(published))
        write_json(self.root / "study.json", {**held, **{key: before[key] for key in KEPT if key in before}})

    def amend(self, **fields: Any) -> None:
        """Replaces fields of study.json. Raises as `read_study`."""
        write_json(self.root / "study.json", {**self.read_study(), **fields})

    @contextlib.contextmanager
    def listed(self, identity: str, cell: Cell, source: str) -> Iterator[None]:
        """Runs the block with the cell in the list of cells; a study that is there keeps its own.

        A cell that is there already has the label and the number of seeds it has now. One that turns out not to fit
        (ValueError, OSError in the block) is taken off the list again, unless it has results.

        Raises:
            ValueError: the study is of another schema, so that its rows and the new one would not compare.
        """
        before = self.read_study() if (self.root / "study.json").exists() else None
        if before is None:
            self.write_study([(identity, cell)], source)
        else:
            self._check_schema(before)
            entry = entry_of(identity, cell)
            cells = [entry if old["id"] == identity else old for old in before["cells"]]
            write_json(self.root / "study.json", {**before, "cells": cells + [entry] * (entry not in cells)})
        try:
            yield
        except (ValueError, OSError):
            if not self.finished_seeds(identity):
                cells = [entry for entry in self.read_study()["cells"] if entry["id"] != identity]
                write_json(self.root / "study.json", {**self.read_study(), "cells": cells})
            raise

    def choose(self, name: str, identity: str, cell: Cell) -> None:
        """Puts a tuned cell in the place of the tuning that has chosen it, in the list of cells."""
        study = self.read_study()
        cells = [entry_of(identity, cell) if entry["id"] == name else entry for entry in study["cells"]]
        write_json(self.root / "study.json", {**study, "cells": cells})
        failed = self.cell(name)  # of an attempt before this one
        if failed.exists() and not (failed / "record.json").exists():
            failed.rmtree()

    def lists(self, cells: list[tuple[str, Cell]], published: Sequence[dict[str, Any]] = ()) -> bool:
        """Whether the folder's study is of these cells, with their labels and seeds, and rows of others.

        Raises: as `read_study`.
        """
        study = self.read_study()
        ours = [(i, c.label, c.seeds, c.tuned.get("name")) for i, c in cells]
        theirs = [(e["id"], e["label"], e["seeds"], e.get("tuned", {}).get("name")) for e in study["cells"]]
        return ours == theirs and json.loads(json.dumps(list(published), default=_plain)) == study.get("published", [])

    def _check_schema(self, study: Mapping[str, Any]) -> None:
        if (schema := study.get("schema", 1)) != SCHEMA:
            raise ValueError(
                f"{os.fspath(self.root / 'study.json')} lists cells of schema {schema}, this revision trains cells of "
                f"schema {SCHEMA}, whose numbers came about otherwise: name another folder"
            )

    def read_study(self) -> dict[str, Any]:
        """What study.json holds, its configs in the layout of today.

        Raises:
            FileNotFoundError: no study was ever run.
            Damaged: it is not valid JSON, or a field is nothing that it can be (`results.study_file`).
        """
        path = self.root / "study.json"
        if not path.exists():
            raise FileNotFoundError(f"{os.fspath(self.root)!r} holds no study (no {path.name}): run the sweep first")
        return study_file.checked(read_json(path), os.fspath(path))

    def finished_seeds(self, identity: str) -> tuple[int, ...]:
        """The seeds the cell's record lists, () without a record."""
        path = self.cell(identity) / "record.json"
        return tuple(sorted({s for p in self._record(identity) for s in p["seeds"]})) if path.exists() else ()

    def count_finished(self) -> int:
        """How many seeds have results in the folder, of every study that it held.

        A damaged cell counts as one, and so does what is saved of a training that is not finished.
        """
        count = 0
        for cell in (self.root / "cells").iterdir():
            try:
                count += len(self.finished_seeds(cell.name))
            except folders.Damaged:
                count += 1
            count += any(path.name.startswith(".partial-") for path in cell.iterdir())
        return count

    def diverged(self, identity: str) -> dict[int, tuple[int, str]]:
        """{seed: (epoch, cause)} of the finished seeds that have no result because training diverged."""
        if not self.finished_seeds(identity):
            return {}
        return {seed: (epoch, why) for cost in self.costs(identity) for seed, epoch, why in cost.get("diverged", ())}

    def write_part(
        self,
        identity: str,
        cell: Cell,
        seeds: tuple[int, ...],
        tables: dict[str, pd.DataFrame],
        cost: dict[str, Any],
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds one training of `seeds` to a cell: all of it or nothing.

        Args:
            saved: {name of a folder: pytree of arrays}, kept as Orbax checkpoints.
        """
        folder = folders.made(self.cell(identity))
        part = f"seeds-{seeds[0]:04d}-{seeds[-1]:04d}"
        with replacing(folder / part) as temporary:
            for name, table in tables.items():
                write_parquet(temporary / f"{name}.parquet", table)
            write_json(temporary / "cost.json", cost)
            write_json(temporary / "environment.json", environment() | self._claimed())
            for name, tree in (saved or {}).items():
                save(temporary / name, tree)
            written = folders.digests(temporary)
        write_json(folder / "config.json", cell.config)
        parts = [] if not self.finished_seeds(identity) else self._record(identity)
        parts = [p for p in parts if p["part"] != part]
        parts += [dict(part=part, seeds=list(seeds), sha256=written)]
        done = sorted({s for p in parts for s in p["seeds"]})
        record = dict(label=cell.label, cell=identity, schema=SCHEMA, seeds=done, parts=parts)
        write_json(folder / "record.json", record | dict(sha256=_seal(record)))
        (folder / "failure.json").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # what interrupted runs left behind
            for leftover in (p for p in folder.iterdir() if p.name.startswith((".tmp-", ".partial-"))):
                leftover.rmtree() if leftover.is_dir() else leftover.unlink()

    def _claimed(self) -> dict[str, str]:
        """The hash of the claims that the study states now, "" of one that never stated any; {} without a study."""
        if not (self.root / "study.json").exists():
            return {}
        versions = self.read_study().get("claims", ())
        return {CLAIMED: versions[-1]["sha256"] if versions else ""}

    def write_failure(self, identity: str, cell: Cell, error: str, trace: str) -> None:
        folder = folders.made(self.cell(identity))
        write_json(folder / "config.json", cell.config)
        now = datetime.datetime.now(datetime.UTC).isoformat()
        write_json(folder / "failure.json", dict(label=cell.label, error=error, traceback=trace, time=now))

    def failure(self, identity: str) -> dict[str, str] | None:
        path = self.cell(identity) / "failure.json"
        return read_json(path) if path.exists() else None

    def parts(self, identity: str) -> list[tuple[epath.Path, list[int]]]:
        return [(self.cell(identity) / p["part"], p["seeds"]) for p in self._record(identity)]

    def has(self, identity: str, name: str) -> bool:
        """Whether every part of a finished cell was written with a file of that name; it may be lost since."""
        return all(
            name in part["sha256"] if "sha256" in part else (self.cell(identity) / part["part"] / name).exists()
            for part in self._record(identity)
        )

    def check(self, identity: str) -> None:
        """Reads all that a report reads of a finished cell; its parameters are checked where they are restored.

        Raises:
            Damaged: a file is not what was written; names it.
        """
        for part in self._record(identity):
            for name, expected in part.get("sha256", {}).items():
                if "/" not in name:
                    folders.read_checked(self.cell(identity) / part["part"] / name, expected)

    def table(self, identity: str, name: str) -> pd.DataFrame:
        """`metrics`, `history` or `predictions` of all finished seeds of a cell.

        Raises:
            Damaged: a file is not what was written; names it.
        """
        found = self._read(identity, f"{name}.parquet")
        return pd.concat([pd.read_parquet(_fits(content, path)) for path, content in found], ignore_index=True)

    def columns(self, identity: str, name: str) -> Iterator[dict[str, np.ndarray]]:
        """The same table by its columns, of one training after another: [n], or [n, K] of lists of one length.

        A `predictions` table that pandas reads has an object a row; of a study that takes longer than all else.
        """
        for path, content in self._read(identity, f"{name}.parquet"):
            table = parquet.read_table(_fits(content, path))
            yield {column: _array(table[column].combine_chunks()) for column in table.column_names}

    def environments(self, identity: str) -> list[dict[str, Any]]:
        """What each training depended on besides its config. Raises as `table`."""
        return [_parsed(path, content) for path, content in self._read(identity, "environment.json")]

    def costs(self, identity: str) -> list[dict[str, Any]]:
        """What each training has cost. Raises as `table`."""
        return [_parsed(path, content) for path, content in self._read(identity, "cost.json")]

    def _read(self, identity: str, name: str) -> Iterator[tuple[epath.Path, bytes]]:
        """Path and content of that file of every part, which is what the record says was written.

        Records of older revisions do not say.
        """
        for part in self._record(identity):
            path, expected = self.cell(identity) / part["part"] / name, part.get("sha256")
            yield path, folders.read(path) if expected is None else folders.read_checked(path, expected.get(name, ""))

    def record(self, identity: str) -> dict[str, Any]:
        """What was written last of a finished cell: label, seeds, parts, and since later cell, schema and sha256.

        Raises:
            Damaged: it is no record, that of another cell, or not the one that was written; names the file and what was
                expected.
        """
        path = self.cell(identity) / "record.json"
        held = read_json(path)
        parts = held.get("parts") if isinstance(held, dict) else None
        if not isinstance(parts, list) or not all(isinstance(p, dict) and {"part", "seeds"} <= set(p) for p in parts):
            raise folders.Damaged(f"{os.fspath(path)}: expected a list of parts, each with part and seeds")
        for p in parts:
            if not folders.is_name(p["part"]):
                raise folders.Damaged(f"{os.fspath(path)}: part {p['part']!r}; expected the name of a folder beside it")
            if not isinstance(p["seeds"], list) or not all(
                type(s) is int and 0 <= s < MOST["seeds"] for s in p["seeds"]
            ):
                raise folders.Damaged(
                    f"{os.fspath(path)}: seeds {reprlib.repr(p['seeds'])} of {p['part']}; expected a list of whole "
                    f"numbers from 0 to {MOST['seeds'] - 1}"
                )
            if not isinstance(p.get("sha256", {}), dict):
                raise folders.Damaged(f"{os.fspath(path)}: sha256 of {p['part']}; expected one for each of its files")
        if "sha256" in held and held["sha256"] != _seal({k: v for k, v in held.items() if k != "sha256"}):
            raise folders.Damaged(f"{os.fspath(path)} is damaged: it is not what was written, by its own digest")
        if (cell := held.get("cell", identity)) != identity:
            raise folders.Damaged(f"{os.fspath(path)} is the record of another cell, {cell}; expected {identity}")
        return held

    def _record(self, identity: str) -> list[dict[str, Any]]:
        """The parts a cell's record names: part, seeds, and but for older revisions sha256. Raises as `record`."""
        return self.record(identity)["parts"]

    def check_splits(self, identity: str, splits: Mapping[int, Split]) -> None:
        """Compares the splits of stored seeds, as they are drawn now, with those the seeds were trained on.

        Raises:
            ValueError: they differ, or the cell does not say; names the cell and the seed.
        """
        if not splits:
            return
        stored = {int(seed): digest for cost in self.costs(identity) for seed, digest in cost.get("splits", {}).items()}
        for seed, split in splits.items():
            if stored.get(seed) != split_digest(split):
                raise ValueError(
                    f"cell {identity} in {os.fspath(self.root)!r}, seed {seed}: its split is not the one it was "
                    f"trained on (digest {split_digest(split)}, stored {stored.get(seed, 'none')}), so that test rows "
                    f"may have trained it; train anew in another folder"
                )

    def config(self, identity: str) -> dict[str, Any]:
        """The full config of a cell, in the layout of today.

        Raises:
            Damaged: the file is none, or a key is missing or of another type; names file and key.
        """
        path = self.cell(identity) / "config.json"
        return study_file.checked_config(read_json(path), os.fspath(path))


def entry_of(identity: str, cell: Cell) -> dict[str, Any]:
    """The line of a cell in the list of its study; of a tuned one with how its values were chosen."""
    entry = dict(id=identity, label=cell.label, seeds=cell.seeds, config=cell.config)
    return entry | (dict(tuned=dict(cell.tuned)) if cell.tuned else {})


@contextlib.contextmanager
def replacing(target: epath.Path) -> Iterator[epath.Path]:
    """A new temporary folder that takes the place of `target` on success and vanishes on failure."""
    temporary = target.parent / f".tmp-{target.name}-{uuid.uuid4().hex[:8]}"
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if target.exists():
            target.rmtree()
        temporary.rename(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.rmtree()
        raise


def write_bytes(path: epath.Path, content: bytes) -> None:
    """The file appears whole or not at all."""
    temporary = path.parent / f".tmp-{path.name}-{uuid.uuid4().hex[:8]}"
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # "No space left on device": say where
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise


def _fits(content: bytes, path: epath.Path) -> io.BytesIO:
    """The content of a Parquet file, open; raises ValueError where it unpacks to more than fits into memory."""
    unpacked.check_parquet(content, os.fspath(path))
    return io.BytesIO(content)


def _array(column: pyarrow.Array) -> np.ndarray:
    """[n] of a column, or [n, K] where its entries are lists of one length."""
    if pyarrow.types.is_list(column.type):
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    if pyarrow.types.is_dictionary(column.type):
        return np.array(column.dictionary.to_pylist())[column.indices.to_numpy(zero_copy_only=False)]
    return column.to_numpy(zero_copy_only=False)


def _plain(value):
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"cannot store a {type(value).__name__} as JSON")


def _seal(record: Mapping[str, Any]) -> str:
    """The digest of a record, of whatever order and layout its file has."""
    return folders.digest(json.dumps(record, sort_keys=True, default=_plain).encode())


def write_json(path: epath.Path, value: Any) -> None:
    write_bytes(path, (json.dumps(value, indent=1, default=_plain) + "\n").encode())


def read_json(path: epath.Path) -> Any:
    """Raises Damaged naming the file where it is not valid JSON."""
    return _parsed(path, folders.read(path))


def _parsed(path: epath.Path, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:  # not JSON, or not UTF-8
        raise folders.Damaged(f"{os.fspath(path)} is not valid JSON: {error}") from error


def write_parquet(path: epath.Path, table: pd.DataFrame) -> None:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_bytes(path, buffer.getvalue())
