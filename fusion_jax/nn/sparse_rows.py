"""Features most of which are 0 (words of a text, a one-hot code), for encoders that begin with a linear map.

A product with them takes the entries that are not 0 alone, forward and in the gradient, though every column is shifted
and scaled before: x = (s - shift) scale is never made,

    x W = s (scale W) - (shift scale) W.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.nn.segment import weighted_rows
from fusion_jax.records import Array

DENSE = 0.05  # share of entries above which a dense product is as fast
SMALL = 2**17  # entries below which it takes no time to speak of


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SparseRows:
    """x [N, d] = (s - shift) scale in rows that are `there`, else 0; s by its E entries that are not 0.

    Attributes:
        values: [E]; columns, rows: int32 [E], sorted by row, then column.
        row_ptr: int32 [N + 1]; row i has the entries row_ptr[i]:row_ptr[i + 1].
        by_column: int32 [E], the entries sorted by column; column_ptr: int32 [d + 1] of that order.
        shift, scale: [d].
        there: bool [N].
    """

    values: Array
    columns: Array
    rows: Array
    row_ptr: Array
    by_column: Array
    column_ptr: Array
    shift: Array
    scale: Array
    there: Array

    @classmethod
    def of(cls, x: np.ndarray, there: np.ndarray) -> SparseRows | None:
        """Those of features x [N, d] that have no NaN in the rows `there`; None where a dense product is as fast."""
        if x.size < SMALL:
            return None
        x = np.where(there[:, None], x, 0)
        if np.count_nonzero(x) > DENSE * x.size:
            return None
        rows, columns = np.nonzero(x)
        pointers = (
            np.concatenate([[0], np.cumsum(np.bincount(ids, minlength=size))])
            for ids, size in zip((rows, columns), x.shape, strict=True)
        )
        order = np.lexsort((rows, columns))
        row_ptr, by_column, column_ptr, columns, rows = (
            jnp.asarray(ids, jnp.int32) for ids in (next(pointers), order, next(pointers), columns, rows)
        )
        values, d = jnp.asarray(x[np.nonzero(x)]), x.shape[1]
        unit = jnp.zeros(d, values.dtype), jnp.ones(d, values.dtype)
        return cls(values, columns, rows, row_ptr, by_column, column_ptr, *unit, jnp.asarray(there))

    @property
    def shape(self) -> tuple[int, int]:
        return self.row_ptr.shape[0] - 1, self.column_ptr.shape[0] - 1

    def scaled(self, shift: Array, scale: Array) -> SparseRows:
        """(s - shift) scale of these s, whatever shift and scale they have had."""
        return dataclasses.replace(self, shift=shift, scale=scale)

    def among(self, there: Array) -> SparseRows:
        """0 in rows that are not there, bool [N], too."""
        return dataclasses.replace(self, there=self.there & there)

    def __matmul__(self, kernel: Array) -> Array:
        """x W for W [d, D] -> [N, D]."""
        kernel = self.scale[:, None] * kernel
        order = self.columns, self.rows, self.row_ptr, self.by_column, self.column_ptr
        y = weighted_rows(self.values.astype(kernel.dtype), kernel, *order) - self.shift @ kernel
        return jnp.where(self.there[:, None], y, 0)


def linear(layer: nnx.Linear, x: Array | SparseRows) -> Array:
    """x W + b, [N, D]."""
    if not isinstance(x, SparseRows):
        return layer(x)
    y = x @ layer.kernel[...]
    return y if layer.bias is None else y + layer.bias[...]
