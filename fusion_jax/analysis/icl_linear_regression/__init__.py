"""What the heads of a trained attention look for and pass on, and which estimator of regression they amount to.

Reference: He, Pan, Chen, Yang, "In-Context Linear Regression Demystified", ICML 2025 (arXiv 2503.12734); code
XintianPan/ICL_linear, commit 87ed34f. Golden `icl-linear-regression`.

Patterns are read from the weights of any attention with query, key, value and output maps (`patterns`); predictions are
compared where rows are asked for what their neighbours are examples of (`estimators`).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from flax import nnx

from fusion_jax.analysis.base import Report
from fusion_jax.analysis.icl_linear_regression import estimators
from fusion_jax.fusion.icl_linear_regression import IclLinearRegression
from fusion_jax.nn.attention import MultiHeadAttention
from fusion_jax.records import Info
from fusion_jax.results.figures import new_figure
from fusion_jax.results.restore import Restored
from fusion_jax.training.compilation import own_settings

INFO = Info(
    "He et al., In-Context Linear Regression Demystified",
    2025,
    pinned="authors' code",
    golden="icl-linear-regression",
    cost="O(H E^2) a head, and O(L d) a row",
)
OF = "cell"
CHECKED_WITH = {
    "data.name": "icl_linear_regression",
    "data.options": dict(stars=24, context=6, dim=3),
    "data.scale": "none",
    "model.placement": "after",
    "model.layers": 0,
    "model.dim": 3,
    "model.head": "fusion",
    "model.encoder.name": "padded",
    "model.fusion.name": "icl_linear_regression",
    "model.fusion.options": dict(widths=(3, 1), predicts=True),
}
SET = "icl_linear_regression"
MODEL, HEADS, NEAREST = "model", "its heads by omega and mu", "debiased step nearest to the model"
SHUFFLES = 100
NOTE = (
    "Omega is the mean of the diagonal of a head's key-query map over the columns of the features, divided as its "
    "scores are; diagonality is the share of that diagonal in the squared mass of the whole map (chance: what 95 % "
    "of its copies with the keys' columns in another order stay below), homogeneity 1 less "
    "the coefficient of variation of the diagonal. Mu is what the output-value map makes of the label, off_label the "
    "share of squared mass that it makes of all else, zero_sum |sum mu| / sum |mu| over the heads of a layer. The "
    "weights are of one seed, in the units in which the model is fed and predicts (standardised)."
)
UNLABELLED = (
    " Nothing says which columns hold a label, so that there is no off_label, the diagonal is over all columns, and mu "
    "and zero_sum are of whole output-value maps, by their norms."
)
STEPS = (
    " Mean squares are of test rows, in the target's units; distance is the root mean square of the difference to the "
    "model's predictions over that of the predictions. The size of both steps is fitted to the targets of training "
    "rows, that of the nearest one to the model's own predictions. Ridge regression is told the variance {noise:g} of "
    "the noise and takes slopes for N(0, 1 / d)."
)


class Patterns(NamedTuple):
    """The maps of one attention layer, float64.

    Attributes:
        name: where the attention is in the model.
        layer: which of the model's attention layers, from 0 on.
        kq: [H, E, E'], a query z scores a key z' by scale z KQ_h z'.
        ov: [H, E', O], what a head adds of a key.
        scale: of the scores.
        label: how many of the last columns of a token hold a label; 0 where nothing says so.
    """

    name: str
    layer: int
    kq: np.ndarray
    ov: np.ndarray
    scale: float
    label: int


def patterns(model: nnx.Module) -> Iterator[Patterns]:
    """Those of every attention of a model."""
    count = itertools.count()
    for path, module in nnx.iter_modules(model):
        name = ".".join(map(str, path))
        if isinstance(module, IclLinearRegression):
            for block in module.blocks:
                kq, ov = _maps(*(_kernel(m) for m in (block.query, block.key, block.value, block.out)), block.heads)
                yield Patterns(name, next(count), kq, ov, 1 / math.sqrt(kq.shape[1]), module.widths[-1])
        elif isinstance(module, MultiHeadAttention) and hasattr(module, "query"):
            kernels = [_kernel(m) for m in (module.query, module.key, module.value, module.out)]
            stacked = kernels[0].ndim == 3
            for layer in range(len(kernels[0]) if stacked else 1):
                own = [k[layer] if stacked else k for k in kernels]
                scale = 1 / math.sqrt(own[0].shape[1] // module.heads)
                yield Patterns(name, next(count), *_maps(*own, module.heads), scale, 0)


def _kernel(linear: nnx.Module) -> np.ndarray:
    return np.asarray(linear.kernel[...], np.float64)


def _maps(query, key, value, out, heads: int) -> tuple[np.ndarray, np.ndarray]:
    q, k, v = (a.reshape(len(a), heads, -1) for a in (query, key, value))
    return np.einsum("ahc,bhc->hab", q, k), np.einsum("ahc,hco->hao", v, out.reshape(heads, -1, out.shape[1]))


def indicators(found: Patterns) -> pd.DataFrame:
    """A row a head: omega, diagonality, homogeneity, mu, off_label, zero_sum; NaN for what it does not have."""
    kq, ov, label = found.kq, found.ov, found.label
    square = kq.shape[1] == kq.shape[2]
    diagonal = np.diagonal(kq, axis1=1, axis2=2)[:, : kq.shape[1] - label]
    mean = diagonal.mean(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (diagonal**2).sum(1) / (kq**2).sum((1, 2))
        alike = 1 - diagonal.std(1) / np.abs(mean)
        of_label = ov[:, ov.shape[1] - label :] if label else ov
        masses = (ov**2).sum((1, 2))
        off = 1 - (of_label**2).sum((1, 2)) / masses
        sizes = np.sqrt((of_label**2).sum((1, 2)))
        rest = np.sqrt((of_label.sum(0) ** 2).sum()) / sizes.sum()
    plain = label and of_label.shape[1:] == (1, 1)
    none = np.full(len(kq), np.nan)
    return pd.DataFrame(
        dict(
            attention=found.name,
            layer=found.layer,
            head=np.arange(len(kq)),
            omega=found.scale * mean if square else none,
            diagonality=share if square else none,
            homogeneity=alike if square else none,
            mu=of_label[:, 0, 0] if plain else sizes,
            off_label=off if label else none,
            zero_sum=rest,
        )
    )


def chance(found: Patterns) -> np.ndarray:
    """The diagonality [H] that 95 % of copies of a head's key-query map stay below whose columns are shuffled.

    What is left of it is that a query of one column scores keys of the same column: NaN in a map that is not square.
    """
    if found.kq.shape[1] != found.kq.shape[2]:
        return np.full(len(found.kq), np.nan)
    rng, size = np.random.default_rng(0), found.kq.shape[2]
    copies = (found._replace(kq=found.kq[:, :, rng.permutation(size)]) for _ in range(SHUFFLES))
    return np.quantile([indicators(copy).diagonality for copy in copies], 0.95, axis=0)


@own_settings()
def icl_linear_regression(cell: Restored, place: int, *, noise: float | None = None) -> Report:
    """The maps of every head of one seed, and what its predictions are nearest to.

    The table "patterns" has a row a head (see `indicators`; chance is the diagonality that shuffled columns reach).
    Where the cell is asked for a value of rows whose
    neighbours hold features and such a value (two modalities, the second one column wide, which the asked rows lack or
    have 0 in) the table "estimators" has the mean square error of the model and of what it may be: its heads by omega
    and mu alone (of one layer), the debiased step nearest to it, the best single head, gradient steps with and
    without bias, and ridge regression; and their distance to the model's predictions.

    Args:
        place: which stored seed.
        noise: the variance of the noise on the values, for ridge regression and the single head; None for that of the
            data set `icl_linear_regression`, 0.1 for others.
    Raises:
        ValueError: the cell has no attention with four such maps; a noise that is no variance.
    """
    number = isinstance(noise, int | float) and not isinstance(noise, bool)
    if noise is not None and not (number and 0 <= noise < math.inf):
        raise ValueError(f"icl_linear_regression: noise={noise!r}; expected a variance, at least 0")
    model = cell.models[place]
    found = list(patterns(model))
    if not found:
        raise ValueError(
            f"icl_linear_regression: fusion {cell.plan.model.fusion.name!r} of this cell has no attention with query, "
            "key, value and output maps, nor has another part of its model (node_token has)"
        )
    table = pd.concat([indicators(one).assign(chance=chance(one)) for one in found], ignore_index=True)
    tables, note = {"patterns": table}, NOTE + UNLABELLED * any(not one.label for one in found)
    rows = _Rows.of(cell, place)
    if rows is not None:
        usual = cell.data.name == SET
        if noise is None:
            noise = float(cell.plan.data.options.get("noise", 0.1)) if usual else 0.1
        tables["estimators"] = _compared(cell, place, rows, found, table, noise)
        note += STEPS.format(noise=noise)
    figures = {"key_query": functools.partial(_figure, found)}
    return Report(tables, _sentence(tables), figures, note=note)


class _Rows(NamedTuple):
    """The asked rows and the neighbours that hold both: indices.

    Attributes:
        asked: int [R].
        neighbours: a list of R arrays.
    """

    asked: np.ndarray
    neighbours: list[np.ndarray]

    @classmethod
    def of(cls, cell: Restored, place: int) -> _Rows | None:
        """None where nobody is asked for what neighbours show."""
        batch, target = cell.batch(place), cell.data.target
        widths = [x.shape[1] for x in batch.features.values()]
        if target.kind != "values" or target.level != "node" or target.num_outputs != 1 or batch.graph is None:
            return None
        if len(widths) != 2 or widths[1] != 1 or not set(batch.names) <= set(cell.data.features):
            return None
        split, mask = cell.prepared.splits[place], np.asarray(batch.mask)
        asked = np.concatenate([split.train, split.test])
        label = np.asarray(cell.data.features[batch.names[1]][asked])  # a 0 stands for one that is asked for
        if (mask[asked, 1] & (label[:, 0] != 0)).any() or not mask[asked, 0].all():
            return None
        senders, ptr = np.asarray(batch.graph.senders), np.asarray(batch.graph.row_ptr)
        neighbours = [senders[ptr[i] : ptr[i + 1]] for i in asked]
        if not all(len(n) and mask[n].all() for n in neighbours):
            return None
        return cls(asked, neighbours)

    def __call__(self, features: list[np.ndarray], function: Callable) -> np.ndarray:
        """function(x, y, query) of every asked row, [R]."""
        x, y = features[0].astype(np.float64), features[1][:, 0].astype(np.float64)
        counts, told = np.array(list(map(len, self.neighbours))), np.zeros(len(self.asked))
        for count in np.unique(counts):
            at = np.flatnonzero(counts == count)
            near = np.stack([self.neighbours[i] for i in at])
            told[at] = function(x[near], y[near], x[self.asked[at]])
        return told


def _compared(cell: Restored, place: int, rows: _Rows, found: list[Patterns], table, noise: float) -> pd.DataFrame:
    batch = cell.batch(place)
    own = [x.toarray() if sp.issparse(x) else np.asarray(x) for x in map(cell.data.features.get, batch.names)]
    fed = [np.asarray(x) for x in batch.features.values()]
    target = np.asarray(cell.data.target.values, np.float64)[rows.asked, 0]
    model = np.asarray(cell.prediction(place), np.float64)[rows.asked, 0]
    tests = np.isin(rows.asked, cell.prepared.splits[place].test)
    steps = {name: rows(own, getattr(estimators, f"{name}_step")) for name in ("gradient", "debiased")}

    def fitted(step: np.ndarray, to: np.ndarray, on: np.ndarray) -> np.ndarray:
        return step * (step[on] @ to[on]) / max(step[on] @ step[on], 1e-300)

    d, context = own[0].shape[1], int(np.median([len(n) for n in rows.neighbours]))
    told = {MODEL: model}
    if len(found) == 1 and found[0].label == 1 and found[0].ov.shape[2] == 1:
        raw = rows(fed, functools.partial(estimators.multi_head, omega=table.omega, mu=table.mu))
        told[HEADS] = cell.prepared.own_units(raw[:, None], place)[:, 0]
    single = [np.array([value]) for value in estimators.single_head(d, context, noise)]
    told |= {
        NEAREST: fitted(steps["debiased"], model, tests),
        "debiased step": fitted(steps["debiased"], target, ~tests),
        "gradient step": fitted(steps["gradient"], target, ~tests),
        "best single head": rows(own, functools.partial(estimators.multi_head, omega=single[0], mu=single[1])),
        "ridge regression": rows(own, functools.partial(estimators.ridge, noise=noise)),
    }
    size = max(np.sqrt((model[tests] ** 2).mean()), 1e-300)
    return pd.DataFrame(
        dict(
            estimator=list(told),
            mse=[float(((t - target)[tests] ** 2).mean()) for t in told.values()],
            distance=[float(np.sqrt(((t - model)[tests] ** 2).mean()) / size) for t in told.values()],
        )
    )


def _sentence(tables: dict[str, pd.DataFrame]) -> str:
    heads = tables["patterns"]
    square = heads[heads.diagonality.notna()]
    said = f"The model has {_heads(len(heads))}"
    if len(square):
        beyond = int((square.diagonality > square.chance).sum())
        of = f"of {_heads(len(square))} with square maps" if len(square) < len(heads) else "of them"
        said += (
            f"; in {beyond} {of} a column of the query looks for the same column of the key more than shuffled columns "
            f"would (diagonality {square.diagonality.mean():.1%} on average, shuffled {square.chance.mean():.1%} at "
            "most)"
        )
    if "estimators" not in tables:
        return (
            f"{said}; what the output-value maps of a layer pass on adds up to {heads.zero_sum.mean():.2f} of its size "
            "(0: heads cancel each other, 1: they agree)."
        )
    by = tables["estimators"].set_index("estimator")
    return (
        f"{said}, and what its heads pass on of the label adds up to {heads.zero_sum.mean():.3f} of its size (0: they "
        f"cancel each other). On this seed's test rows its predictions differ from the nearest debiased step of "
        f"gradient descent by {by.distance[NEAREST]:.3f} of their size; mean square error {by.mse[MODEL]:.3f}, against "
        f"{by.mse['debiased step']:.3f} of a debiased step, {by.mse['best single head']:.3f} of the best single head "
        f"and {by.mse['ridge regression']:.3f} of ridge regression."
    )


def _heads(count: int) -> str:
    return f"{count} head{'s' * (count != 1)}"


def _figure(found: list[Patterns]):
    """The key-query map of every head, a row a layer, scaled as scores are."""
    columns = max(len(one.kq) for one in found)
    fig, axes = new_figure(2.6 * columns + 0.6, 2.6 * len(found), len(found), columns)
    size = max(*(np.abs(one.scale * one.kq).max() for one in found), 1e-12)
    for row, one in zip(axes, found, strict=True):
        for head, ax in enumerate(row):
            if head >= len(one.kq):
                ax.set_axis_off()
                continue
            shown = ax.imshow(one.scale * one.kq[head], cmap="RdBu_r", vmin=-size, vmax=size)
            ax.set_title(f"layer {one.layer}, head {head}", fontsize="small")
            ax.set_xlabel("column of the key", fontsize="small")
        row[0].set_ylabel("column of the query", fontsize="small")
    fig.colorbar(shown, ax=list(np.ravel(axes)), label="part in the score")
    return fig
