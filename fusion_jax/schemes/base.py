"""The contract of a training scheme, and of the stages a training consists of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from flax import nnx

from fusion_jax.records import EVALUATION, Array, Batch, Context, Info, Output, Target

TrainingLoss = Callable[[nnx.Module, Array], Array]  # model, key -> scalar


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

    A stage has its own patience and best score. Every stage is a program of its own: what its fields compute is
    compiled in, nothing is asked at run time.

    Attributes:
        epochs: at most so many. A stage of 0 epochs is its `begin`, then `remember` and one evaluation.
        transform: (batch, key) -> what a training step sees; evaluation always sees the batch itself.
        forward: (model, batch, context=) -> Output, in training (with a key) and evaluation (without). The last stage's
            must say in evaluation what `model(batch)` says, as that is all that is kept.
        loss: (model, output, target, weight [N], step, key) -> scalar, the training loss; None for the cell's own.
            Labels of rows with weight 0 must not be used. The losses in `output.losses` are added either way, and
            selection uses the cell's loss and score in any case.
        gradients: (model, gradients, batch, target, weight [N], epoch of the stage, key) -> gradients, what becomes of
            the parameters' gradients before the optimiser sees them, of the same form; None where they are as they are.
            `model` is the one they were taken of. What `trains` and `freezes` leave out is 0 in any case.
        one_pass: (step, state, trial, batch, target) -> what a step gives, an epoch of several steps
            (`training.batches`); None for one on all rows at once.
        remember: (model, batch, target, weight [N]) -> None, sets variables of the model (no `nnx.Param`) that
            evaluation needs from the training rows, after every step; None where there are none.
        trains: parts of the model whose parameters move, as dotted paths ("fusions.0.attention"); () for all.
        freezes: parts among them that do not.
        rate: factor on the config's learning rate.
        begin: (model, batch, target, weight [N], loss, key) -> None, changes the model in place before the first
            epoch: the values of parameters and variables, not their shapes, dtypes or number. It is called once a
            seed outside of any compiled program, so all it gets is concrete; what is slow in it may be jitted.
            `batch` is the training batch: in the inductive setting what comes with test nodes is not in it. `target`
            has no labels but those of training rows (0 elsewhere; time 1, no event), which are the rows with
            weight > 0. `loss(model, key)` is this stage's training loss on all of that, as a training step would
            compute it, so that its derivatives can be taken. None where nothing is to be changed.
        start: the parameters it starts from (and `begin` sees): the "best" of the stage before, or the "last".
        keep: what it hands on as its best: that of the "best" epoch, or of the "last" one, whatever the scores. With
            "last" there is no early stopping.
        same_optimizer: it goes on with the optimiser of the stage before as its last epoch left it (moments, and the
            schedule, which is one over the epochs of both); else with a fresh one.
        snapshots: numbers of its epochs after which parameters and variables are kept; 0 is before the first, after
            `begin`. A seed that stops, or diverges, leaves its last parameters in those that were to come.
    Raises:
        ValueError: a field out of range.
    """

    epochs: int
    transform: Callable[[Batch, Array], Batch] = unchanged
    forward: Callable[..., Output] = whole_model
    loss: Callable[..., Array] | None = None
    gradients: Callable[[nnx.Module, Any, Batch, Target, Array, Array, Array], Any] | None = None
    one_pass: Callable[..., Any] | None = None
    remember: Callable[[nnx.Module, Batch, Target, Array], None] | None = None
    trains: tuple[str, ...] = ()
    freezes: tuple[str, ...] = ()
    rate: float = 1.0
    begin: Callable[[nnx.Module, Batch, Target, Array, TrainingLoss, Array], None] | None = None
    start: Literal["best", "last"] = "best"
    keep: Literal["best", "last"] = "best"
    same_optimizer: bool = False
    snapshots: tuple[int, ...] = ()

    def __post_init__(self):
        if self.epochs < 0:
            raise ValueError(f"stage: epochs={self.epochs}, expected at least 0")
        for field in ("start", "keep"):
            if getattr(self, field) not in ("best", "last"):
                raise ValueError(f"stage: {field}={getattr(self, field)!r}, expected 'best' or 'last'")
        if outside := [epoch for epoch in self.snapshots if not 0 <= epoch <= self.epochs]:
            raise ValueError(f"stage: snapshots={outside}, expected numbers from 0 to its {self.epochs} epochs")


Make = Callable[[Mapping[str, int], Array], nnx.Module]  # widths of the modalities, key -> the config's model


class Scheme:
    """Changes how a model is trained. The scheme itself, without a subclass, changes nothing.

    A subclass defines `info`, keyword options in `__init__`, and any of the hooks below.

    Attributes:
        info: the entry in the catalogue.
        checked_with: {config key: value} of a scheme that does not fit every model, for the models its checks train.
        parted: whether what it changes may run on nodes that lie on several devices: it looks at each by itself, and
            draws by `nn.numbered`.
    """

    info: ClassVar[Info]
    parted: ClassVar[bool] = False
    checked_with: ClassVar[Mapping[str, Any]] = {}

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
