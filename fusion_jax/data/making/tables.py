"""A data set from a user's tables: read, joined by id, made into features, target, splits and edge sets, looked at."""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from fusion_jax import zoo
from fusion_jax.data import graphs as making_graphs
from fusion_jax.data.base import Dataset, Provenance, checksum, edge_set
from fusion_jax.data.imputation import all_filled
from fusion_jax.data.making import columns, doubts, edges, leaks, options, parts, targets
from fusion_jax.data.making.joining import check_first_lines, joined, rows_of
from fusion_jax.data.making.reading import Table, read
from fusion_jax.data.making.report import Conversion, count, some

TABLES = ("features", "labels", "edges", "split")  # the other arguments are options
FUSED = "snf"  # the edge set of what the modalities agree on, made where `graph` names it
NEIGHBOURS = 10  # k, where nothing says how many


def from_tables(
    features: Mapping[str, Any],
    labels: Any = None,
    edges: Any = None,
    split: Any = None,
    *,
    name: str = "tables",
    id: str | None = None,
    by: str = "id",
    join: str = "union",
    target: str | Sequence[str] = (),
    task: str = "",
    onehot: bool | str | Collection[str] = False,
    impute: str = "mean",
    directed: bool = False,
    graph: str = "",
    k: int | None = None,
    metric: str = "cosine",
    mutual: bool = False,
    train: float = 0.6,
    val: float = 0.2,
    per_class: int | None = None,
    setting: str = "transductive",
    header: bool | None = None,
    source: str = "",
    licence: str = "not stated",
) -> Dataset:
    """A data set from tables whose rows are joined by id.

    A table is a path (CSV, TSV, Parquet, npz) or a DataFrame. Its ids are the column `id` names; else the column called
    id, node or index; else a DataFrame's own index (but 0 ... N-1); else the first column. Ids are texts: "1", "01" and
    "1.0" are three. The nodes are those of the feature tables, in the order of their ids, so that the order of rows in
    the files changes nothing. A node whose row is missing, or empty throughout, lacks the modality (`Dataset.mask`).

    Args:
        features: {modality: table}, in the order of M.
        labels: a table with a column of labels, or several; see `targets.target_of` for what becomes of them. A node
            without a row, or with an empty cell, is unlabelled: in the graph and in no split.
        edges: a table of pairs of ids with the optional columns weight and time, or {edge set: table}; one table is the
            edge set "edges".
        split: a table with a column of train, val, test by id (several columns: one a seed), or the name of such a
            column among the labels; a column of the labels called split is one. Drawn per seed if None.
        name: of the data set.
        id: the column of ids, in tables that have it.
        by: "position": rows have no ids and are taken in their order; all tables have as many.
        join: nodes of "union", in any of the feature tables; or of "intersection", in all of them and labelled.
        target: the columns of `labels` to be predicted; all but that of the split if ().
        task: "classes", "values", "labels", "survival" or "several"; found from the columns if "".
        onehot: columns of texts that become a column of 0 and 1 for each value; True for all of them.
        impute: what fills single missing values, from the training rows of each seed: "mean" or "median"; with "none"
            they are an error.
        directed: edges go from the first column to the second; else both ways.
        graph: name of the default edge set. "knn" and "knn_<modality>" are made from features, and "snf" from all of
            them by similarity network fusion (`data.snf`; N x N numbers a modality); "" is the first of `edges`, "knn"
            where there are none; "none" for no edge set.
        k: neighbours in edge sets made from features, which are made where it is given, where `graph` names one, or
            where there are no edges (10 then). In the inductive setting they are made from the nodes that training
            sees, see `graphs.grow`.
        metric, mutual: of those: see `graphs.knn`.
        train, val: shares of the labelled nodes (of every class) that train and validate; the rest is test.
        per_class: instead, so many training and as many validation labels a class.
        setting: the usual one, "transductive" or "inductive".
        header: whether the first lines of text files name the columns. If None they do, and one that looks like a row
            is an error, but in a list of edges, where it is one if it names a node. False: no file has such a line, and
            columns are called id, "column 2", ...; those of edges source, target, weight.
        source, licence: where the data come from.
    Returns:
        The data set; its `conversion` says what was joined, dropped, made and doubtful.
    Raises:
        FileNotFoundError, ValueError: a table that cannot be read or joined; names file, column, row, value and what
            was expected.
    """
    options.check({option: value for option, value in locals().items() if option not in TABLES})
    if not isinstance(features, Mapping) or not features:
        raise ValueError(f"features: {type(features).__name__}; expected {{modality: table}}, at least one")
    impute = "" if impute == "none" else impute
    report = Conversion(f"data set {name!r}")
    read_as = dict(id=id, by=by, header=header)
    tables = {m: read(given, m, **read_as) for m, given in features.items()}
    if labels is None:
        raise ValueError("labels: none; expected a table of ids and labels, which models are trained and compared by")
    marked = read(labels, "labels", text=True, **read_as)
    if header is None:
        check_first_lines([*tables.values(), marked])
    names, rows = joined(tables, marked, join, by, report)
    x, mask, called = _features(tables, rows, len(names), onehot, impute, report)
    first = next(iter(tables.values()))
    in_labels = rows_of(marked, names, by, first, report)
    splitting, split_columns = _splitting(split, marked, read_as)
    labelled_columns = _targets(marked, target, split_columns if splitting is marked else [])
    known = targets.target_of(marked, labelled_columns, task, in_labels, report)
    own_names = names if by == "id" else None
    given = _given(edges, own_names, len(names), directed, header, report)
    made, recipes, default = _edge_sets(given, x, mask, impute, graph, k, metric, mutual, report)
    if splitting is None:
        splits = parts.drawn(known, train, val, per_class, report)
    else:
        of_split = in_labels if splitting is marked else rows_of(splitting, names, by, first, report)
        splits = parts.stated(splitting, split_columns, of_split, known, report)
    counted = types.SimpleNamespace(features=x, mask=mask, graphs=given, target=known.target)
    data = Dataset(
        name=name,
        features=x,
        mask=mask,
        graphs=made,
        target=known.target,
        splits=splits,
        provenance=Provenance(source or f"the user's own: {_sources(tables, marked)}", licence, checksum(counted)),
        class_names=known.class_names,
        setting=setting,
        default_graph=default,
        made=recipes,
        columns={m: tuple(names) for m, names in called.items()},
        ids=None if own_names is None else np.array(own_names, dtype=str),
        labelled=None if known.labelled.all() else known.labelled,
        impute=impute,
        conversion=report,
    )
    filled = all_filled(data.features, mask, np.arange(len(mask)), impute)
    seen = data.split(0).train
    doubts.look(filled, mask, data.graphs, data.target, seen, called, report)
    leaks.look(data.features, mask, data.target, seen, called, report)
    return data


def _sources(tables: dict[str, Table], marked: Table) -> str:
    return ", ".join(dict.fromkeys(table.where for table in (*tables.values(), marked)))


def _features(tables, rows, nodes: int, onehot, impute: str, report: Conversion):
    """Features, mask and the names of columns of every modality."""
    onehot = (onehot,) if isinstance(onehot, str) else onehot
    x, mask, called = {}, np.zeros((nodes, len(tables)), bool), {}
    if onehot not in (True, False):
        there = {str(c) for t in tables.values() if not sp.issparse(t.frame) for c in t.frame.columns}
        for column in onehot:
            if column not in there:
                raise ValueError(
                    f"onehot={column!r}{zoo.nearest(column, there)}; expected columns of the feature tables"
                )
    for m, (name, table) in enumerate(tables.items()):
        for note in table.notes:
            report.say(f"{table.where}: {note}")
        values, called[name] = columns.features(table, onehot)
        at = rows[name]
        if sp.issparse(values):
            x[name], mask[:, m] = values[at] if (at >= 0).all() else _sparse_rows(values, at), at >= 0
            continue
        empty = np.isnan(values).all(1)
        mask[:, m] = (at >= 0) & ~empty[at]
        x[name] = np.where(mask[:, [m]], values[at], np.float32(0))
        if blank := int(((at >= 0) & empty[at]).sum()):
            nobody = not mask[:, m].any()
            (report.warn if nobody else report.say)(
                f"{table.where}: {count(blank, 'row')} without any value: modality {name} is missing there"
                + " and no node has it: it tells nothing" * nobody
            )
        _say_gaps(table, name, called[name], x[name], mask[:, m], at, impute, report)
    if lone := int((~mask.any(1)).sum()):
        report.say(f"{count(lone, 'node')} without any modality")
    return x, mask, called


def _sparse_rows(values: sp.csr_matrix, at: np.ndarray) -> sp.csr_matrix:
    pick = sp.csr_matrix((np.ones((at >= 0).sum()), (np.flatnonzero(at >= 0), at[at >= 0])), (len(at), values.shape[0]))
    return sp.csr_matrix(pick @ values, dtype=np.float32)


def _say_gaps(
    table: Table, name: str, called: list[str], x: np.ndarray, has, at, impute: str, report: Conversion
) -> None:
    gaps = np.isnan(x)
    report.facts.setdefault("missing_values", {})[name] = int(gaps.sum())
    if not gaps.any():
        return
    node, column = np.argwhere(gaps)[0]
    if not impute:
        raise ValueError(
            f"{table.where}, column {called[column]!r}, {table.place(int(at[node]))}: no value; expected one "
            "(impute='mean' or 'median' fills what is missing from training rows)"
        )
    report.say(
        f"{table.where}: {count(int(gaps.sum()), 'single value')} missing in "
        f"{count(int(gaps.any(0).sum()), 'column')}, filled per seed by the {impute} of its training rows"
    )
    there = x[has]
    flat = gaps.any(0) & ~gaps[has].all(0)
    flat[flat] = np.nanmin(there[:, flat], 0) == np.nanmax(there[:, flat], 0)
    if flat.any():
        shown = some(called[c] for c in np.flatnonzero(flat))
        report.warn(
            f"{table.where}: {shown}: one value, and missing elsewhere: filled it is constant, and tells nothing any "
            "more; if a gap means something, write a value there"
        )


def _splitting(split: Any, marked: Table, read_as: dict) -> tuple[Table | None, list[str]]:
    """The table that states splits (None where they are drawn), and its columns that do."""
    if split is None:
        own = next((c for c in marked.frame.columns if c.lower() == "split"), None)
        return (marked, [own]) if own is not None else (None, [])
    if isinstance(split, str) and split in marked.frame.columns:
        return marked, [split]
    table = read(split, "split", text=True, **read_as)
    return table, parts.column_of(table)


def _targets(marked: Table, target: str | Sequence[str], without: Sequence[str]) -> list[str]:
    known = [c for c in marked.frame.columns if c not in without]
    wanted = [target] if isinstance(target, str) and target else list(target)
    for column in wanted:
        if column not in known:
            raise ValueError(
                f"{marked.where}: no column {column!r}{zoo.nearest(column, known)}; it has: {some(known, 8)}"
            )
    return wanted or known


def _given(given: Any, names, nodes: int, directed: bool, header: bool | None, report: Conversion):
    """{edge set: graph} of the tables of edges."""
    held = {} if given is None else dict(given) if isinstance(given, Mapping) else {"edges": given}
    made = {}
    for name, one in held.items():
        table = read(one, "edges" if name == "edges" else f"edges {name}", text=True, by="none", header=header)
        made[name] = edges.from_list(table, names, nodes, directed, report, name, header)
    return made


def _edge_sets(given, x, mask, impute, graph, k, metric, mutual, report: Conversion):
    """All edge sets, how those made from features are made, and the default one."""
    own = ["knn", *(f"knn_{m}" for m in x), FUSED]
    known = [*given, *own, "none"]
    if graph not in ("", *known):
        raise ValueError(f"graph={graph!r}{zoo.nearest(graph, known)}; expected one of {', '.join(known)}")
    if graph == "none":
        n = len(mask)
        report.say("no edge set is used (graph='none')")
        return {"none": edge_set(np.zeros(0, int), np.zeros(0, int), n), **given}, {}, "none"
    default = graph or next(iter(given), "knn")
    if k is None and default not in own:
        return dict(given), {}, default
    k = NEIGHBOURS if k is None else k
    dense = {m: v.toarray() if sp.issparse(v) else v for m, v in x.items()}
    filled = all_filled(dense, mask, np.arange(len(mask)), impute)
    how = dict(metric=metric, mutual=mutual)
    try:
        made = making_graphs.neighbour_graphs(filled, mask, k, **how, fuse=graph == FUSED)
    except ValueError as error:
        raise ValueError(f"edge sets made from features: {error}") from error
    nearest = f"{'mutual ' if mutual else ''}{k} nearest neighbours by {metric}"
    report.say(f"graphs {', '.join(own[:-1])}: {nearest} on standardised features")
    if graph == FUSED:
        report.say(f"graph {FUSED}: {k} strongest in the fused similarity network of all modalities")
    return {**given, **made}, making_graphs.neighbour_recipes(x, k, **how, fuse=graph == FUSED), default
