"""Parameters as one vector a dtype: what training does to each of them it then does to all in one operation.

An optimiser's update, the best so far, whether all is finite: done leaf by leaf these are most of the kernels of a
training step, and on a CPU each of them costs the compiler some milliseconds and every epoch some microseconds.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fusion_jax.records import Array


@dataclasses.dataclass(frozen=True)
class Form:
    """What a vector does not say of the tree that it was: structure, and dtype and shape of every leaf, in order."""

    structure: Any
    leaves: tuple[tuple[str, tuple[int, ...]], ...]


@functools.partial(jax.tree_util.register_dataclass, data_fields=["vectors"], meta_fields=["form"])
@dataclasses.dataclass(frozen=True)
class Flat:
    """A tree of arrays as vectors.

    Attributes:
        vectors: {dtype: [..., P]}, the leaves of that dtype one behind another; with axes in front, such as seeds, that
            all leaves share.
        form: of the tree without these axes.
    """

    vectors: dict[str, Array]
    form: Form

    @property
    def tree(self) -> Any:
        """The tree, its leaves with the axes in front that the vectors have. A gradient comes back as vectors."""
        parts = {dtype: iter(self._parts(dtype)) for dtype in self.vectors}
        return jax.tree.unflatten(self.form.structure, [next(parts[dtype]) for dtype, _ in self.form.leaves])

    def _parts(self, dtype: str) -> list[Array]:
        vector, shapes = self.vectors[dtype], [shape for own, shape in self.form.leaves if own == dtype]
        sizes = [math.prod(shape) for shape in shapes]
        if isinstance(vector, np.ndarray):
            parts = np.split(vector, np.cumsum(sizes)[:-1], axis=-1)
        else:  # of one split the gradient is one concatenation, of slices a sum of as many padded vectors
            parts = jax.lax.split(vector, sizes, axis=vector.ndim - 1)
        return [part.reshape((*vector.shape[:-1], *shape)) for part, shape in zip(parts, shapes, strict=True)]


def flat(tree: Any) -> Flat:
    """The tree as vectors."""
    return _joined(tree, jnp)


def flat_on_host(tree: Any) -> Flat:
    """The same for arrays that are there, joined on the host: nothing is compiled for their shapes."""
    return jax.device_put(_joined(tree, np))


def tree_on_host(held: Any) -> Any:
    """A tree in which every `Flat` is the tree that it was, cut on the host."""

    def tree(x: Any) -> Any:
        return jax.tree.map(np.asarray, x).tree if isinstance(x, Flat) else x

    return jax.device_put(jax.tree.map(tree, held, is_leaf=lambda x: isinstance(x, Flat)))


def stacked(trees: Sequence[Any]) -> Any:
    """Trees of one form as one with leaves [S, ...], joined on the host."""
    return jax.tree.map(lambda *leaves: jax.device_put(np.stack(leaves)), *trees)


def _joined(tree: Any, xp: Any) -> Flat:
    leaves, structure = jax.tree.flatten(tree)
    leaves = [xp.asarray(x) for x in leaves]
    form = Form(structure, tuple((str(x.dtype), x.shape) for x in leaves))
    dtypes = dict.fromkeys(dtype for dtype, _ in form.leaves)
    return Flat({d: xp.concatenate([x.ravel() for x in leaves if str(x.dtype) == d]) for d in dtypes}, form)


def on_trees(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimiser that looks at leaves as such, for parameters that are `Flat`; of others it is what it was."""

    def tree(held: Any) -> Any:
        return held.tree if isinstance(held, Flat) else held

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        new, state = tx.update(tree(updates), state, tree(params))
        return flat(new) if isinstance(updates, Flat) else new, state

    return optax.GradientTransformation(lambda params: tx.init(tree(params)), update)
