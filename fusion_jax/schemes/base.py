"""The contract of a training scheme, and of the stages a training consists of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar

from flax import nnx

from fusion_jax.records import EVALUATION, Array, Batch, Context, Info, Output, Target


def unchanged(batch: Batch, key: Array) -> Batch:
    """The transform that changes nothing."""
    del key
    return batch


def whole_model(model: nnx.Module, batch: Batch, *, context: Context = EVALUATION) -> Output:
    """What the model itself says."""
    return model(batch, context=context)


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of training with its own input, output, loss and parameters; the loop runs one after another.

    A stage starts from the best parameters of the one before, with a fresh optimiser, patience and best score.
    Every stage is a program of its own: what its fields compute is compiled in, nothing is asked at run time.

    Attributes:
        epochs: at most so many.
        transform: (batch, key) -> what a training step sees; evaluation always sees the batch itself.
        forward: (model, batch, context=) -> Output, in training (with a key) and evaluation (without). The last stage's
            must say in evaluation what `model(batch)` says, as that is all that is kept.
        loss: (model, output, target, weight [N], step, key) -> scalar, the training loss; None for the cell's own.
            Labels of rows with weight 0 must not be used. The losses in `output.losses` are added either way, and
            selection uses the cell's loss and score in any case.
        remember: (model, batch, target, weight [N]) -> None, sets variables of the model (no `nnx.Param`) that
            evaluation needs from the training rows, after every step; None where there are none.
        trains: attributes of the model whose parameters move; () for all.
        rate: factor on the config's learning rate.
    """

    epochs: int
    transform: Callable[[Batch, Array], Batch] = unchanged
    forward: Callable[..., Output] = whole_model
    loss: Callable[..., Array] | None = None
    remember: Callable[[nnx.Module, Batch, Target, Array], None] | None = None
    trains: tuple[str, ...] = ()
    rate: float = 1.0


Make = Callable[[Mapping[str, int], Array], nnx.Module]  # widths of the modalities, key -> the config's model


class Scheme:
    """Changes how a model is trained. The scheme itself, without a subclass, changes nothing.

    A subclass defines `info`, keyword options in `__init__`, and any of the hooks below.
    """

    info: ClassVar[Info]

    def transform(self, batch: Batch, key: Array) -> Batch:
        """What a training step sees instead of `batch`; evaluation always sees the batch itself."""
        del key
        return batch

    def stages(self, epochs: int) -> tuple[Stage, ...]:
        """The stages that `epochs` epochs of training consist of, in order; together they have at most so many."""
        return (Stage(epochs, transform=self.transform),)

    def build(self, make: Make, feature_dims: Mapping[str, int], target: Target, key: Array) -> nnx.Module:
        """The model that is trained: `make(feature_dims, key)`, or something that holds such models.

        It is called as `model.Model` is, model(batch, context=) -> Output.
        """
        del target
        return make(feature_dims, key)
