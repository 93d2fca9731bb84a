"""What of a data set decides numbers, as one text: two sets that would train a model differently have two.

Counted, exactly: the provenance checksum; names, order and widths of the modalities and whether they are stored
sparse; the mask; every edge set's senders, receivers, node counts and integer edge arrays, and how it is made from
features; kind, level, number of outputs and integer targets; the names of the classes in their order; the rule of the
splits and the split of seed 0.

Counted, nearly: arrays of floats (features, edge arrays, values, times). What is computed from the same files may
differ in the last bit between machines, and must not be another data set there. So they are counted by a few random
projections, in steps of 1e-4: of the columns' means, of the logarithms of their spreads, and of all entries, every
column less its mean and in its own spread, for that is how training sees them. Rows or columns in another order, other
units, an entry changed by a thousandth of its column's norm all show; last bits do not, unless a projection lies at the
border of a step or a column is little more than its last bits: such a cell is trained again without need. (With every
feature of five data sets moved by its last bit at random, 40 times each, no fingerprint changed. Where no checksum was
given, the provenance checksum is that of the arrays, which counts every bit.)

Counted where they are used: how missing values are imputed, where they stand, and which nodes have no target.

Not counted: the data set's name, source and licence; the ids of its nodes; what stands in masked slots; the default
edge set and the default setting, which a cell's identity has as it uses them (`study.Cell.identity`); splits of seeds
other than 0, whose digests lie with the results (`split_digest`) and are checked before seeds are added or a cell is
restored.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import scipy.sparse as sp

from fusion_jax import zoo
from fusion_jax.arrays import spread
from fusion_jax.records import Target

STEP = 1e-4  # of the array's norm
PROJECTIONS = 4
PLACES = ("labels", "values", "time", "event")


def fingerprint(data: Any) -> str:
    """The sha256 over what the module says of a `Dataset`, 64 hex digits.

    Raises:
        ValueError: seed 0 has no split.
    """
    try:
        split = data.splits.draw(0)
    except ValueError as error:
        raise ValueError(f"data set {data.name!r}, split of seed 0: {error}") from error
    graphs = sorted(data.graphs.items())
    held = dict(
        checksum=data.provenance.checksum,
        modalities=[[name, _floats(_shown(x, data.mask[:, i]))] for i, (name, x) in enumerate(data.features.items())],
        mask=_array(data.mask),
        graphs={
            name: [_array(g.senders), _array(g.receivers), _array(g.n_node)]
            + [[key, _array(value)] for key, value in sorted((g.edges or {}).items())]
            for name, g in graphs
        },
        made={name: _made(how) for name, how in sorted(data.made.items())},
        target=_target(data.target),
        classes=list(data.class_names),
        splits=[data.splits.rule, bool(data.splits.fixed), split_digest(split)],
    )
    if data.impute:  # what came later counts where it is used
        held["impute"] = data.impute
    if data.labelled is not None:
        held["labelled"] = _array(data.labelled)
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()


def _made(how: Any) -> list:
    """How an edge set is made from features; what is usual of metric and choice is not said."""
    usual = how.metric == "cosine" and not how.mutual
    return [how.k, how.groups] if usual else [how.k, how.groups, how.metric, how.mutual]


def _target(target: Target) -> list:
    """Kind, level, number of outputs, and the fields: four have a place each, others follow with their names."""
    known = [_field(target.fields.get(name)) for name in PLACES]
    others = [[name, _field(value)] for name, value in target.fields.items() if name not in PLACES]
    return [zoo.short(target.kind), target.level, target.num_outputs, *known, *others]


def _field(value: Any) -> Any:
    return _target(value) if isinstance(value, Target) else _array(value)


def split_digest(split: Any) -> str:
    """16 hex digits of the sha256 over the row numbers of the three parts of a `Split`."""
    parts = [np.asarray(getattr(split, part), np.int64).tolist() for part in ("train", "val", "test")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _array(x: Any) -> Any:
    """Integers and bools by their sha256, floats by `_floats`, None as it is."""
    if x is None:
        return None
    x = np.asarray(x)
    if x.dtype.kind == "f":
        return _floats(x)
    return [x.shape, hashlib.sha256(np.ascontiguousarray(x, np.int64).tobytes()).hexdigest()]


def _shown(x, present: np.ndarray):
    """The rows that are there (of a sparse matrix 0 elsewhere): what stands in a masked slot has no say."""
    if not sp.issparse(x):
        return x[present]
    x = sp.coo_matrix(x)
    return sp.csr_matrix((np.where(present[x.row], x.data, 0), (x.row, x.col)), shape=x.shape)


def _floats(x) -> list:
    """Shape and projections: of a sparse matrix itself, of a dense one's means, spreads and standardised columns."""
    if sp.issparse(x):
        return [x.shape, _project(sp.csr_matrix(x, dtype=np.float64))]
    shape = np.shape(x)
    if not np.size(x):
        return [shape]
    x = np.asarray(x).reshape(len(x), -1)
    if (gaps := np.isnan(x)).any():
        return ["gaps", _array(gaps), _floats(np.where(gaps, 0, x))]
    deviation = spread(x)  # 0 where there is no more than rounding
    mean, unit = x.mean(0, keepdims=True, dtype=np.float64), np.where(deviation > 0, deviation, np.inf)
    spreads = np.where(deviation > 0, np.log(np.where(deviation > 0, deviation, 1)), 0)
    steps = np.rint(spreads @ _directions(x.shape[1]) / STEP).astype(int).tolist()
    return [shape, _project(mean), steps, _project((x - mean) / unit)]


def _project(x) -> list[int]:
    """log |x| and u_j^T x v_j / |x| in whole steps, u_j and v_j fixed vectors of numbers in [-1, 1)."""
    norm = float(np.sqrt(x.multiply(x).sum() if sp.issparse(x) else (x * x).sum()))
    if not norm > 0:
        return []
    n, d = x.shape
    u, v = np.split(_directions(n + d), [n])
    along = (u * (x @ v)).sum(0) / norm
    return [round(float(value) / STEP) for value in (np.log(norm), *along)]


def _directions(n: int) -> np.ndarray:
    """Fixed numbers in [-1, 1), [n, PROJECTIONS], the same with every version of NumPy."""
    bits = np.random.PCG64(0).random_raw(PROJECTIONS * n)
    return (bits >> np.uint64(11)).reshape(-1, PROJECTIONS) / 2.0**52 - 1
