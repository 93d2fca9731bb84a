"""A seed, copies of it that specialise on one modality each, and a mixture made of the parts of all of them.

Reference: Zhang et al., 2024 (see `layers.bam`); no code is public.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from flax import nnx

from fusion_jax.layers.bam import BAM as Block
from fusion_jax.layers.bam import mean
from fusion_jax.model import Model
from fusion_jax.records import EVALUATION, Array, Batch, Context, Info, Output, Target
from fusion_jax.schemes.base import Make, Scheme, Stage, TrainingLoss


class Upcycled(nnx.Module):
    """The dense models, the seed first and then a copy a modality, and what is made of them, which predicts.

    Args:
        dense: models of the cell's config whose blocks have one expert.
        mixture: the model of the cell's config.
    """

    def __init__(self, dense: Sequence[Model], mixture: Model):
        self.dense, self.mixture = nnx.List(dense), mixture

    def __call__(self, batch: Batch, *, context: Context = EVALUATION) -> Output:
        return self.mixture(batch, context=context)

    def begin(self, batch: Batch, context: Context = EVALUATION) -> None:
        """Lets the fusions of all models begin."""
        for model in (*self.dense, self.mixture):
            model.begin(batch, context)

    def specialist(self, batch: Batch, *, context: Context = EVALUATION, number: int) -> Output:
        """What dense model `number` says: the seed (0) of all modalities, a copy of its own alone."""
        return self.dense[number](batch if number == 0 else only(batch, number - 1), context=context)

    def branch(self, number: int) -> None:
        """Makes copy `number` what the seed is."""
        nnx.update(self.dense[number], nnx.state(self.dense[0]))

    def mix(self) -> None:
        """Makes the mixture of the dense models: of every block its experts, of all else the uniform mean."""
        parts = [blocks(model) for model in self.dense]
        own = blocks(self.mixture)
        for path, block in own.items():
            block.upcycle([part[path] for part in parts])
        states = [dict(nnx.to_flat_state(nnx.state(model))) for model in self.dense]
        for path, variable in nnx.to_flat_state(nnx.state(self.mixture)):
            if not any(path[: len(block)] == block for block in own):
                variable.set_value(mean([state[path][...] for state in states]))


def only(batch: Batch, modality: int) -> Batch:
    """The batch in which every node lacks all modalities but one."""
    column = np.arange(len(batch.names)) == modality
    return batch.with_mask(batch.mask & column)


def blocks(model: nnx.Module) -> dict[tuple, Block]:
    """{path: block} of all layers `bam` of a model; those of several streams are one with stacked parameters."""
    return {path: module for path, module in nnx.iter_modules(model) if isinstance(module, Block)}


class BAM(Scheme):
    """Branch, continue, mix: specialised copies of a trained seed become the experts of attention and feed-forward.

    The seed is the cell's model with blocks of one expert, trained on all modalities. Copy m starts as the seed and is
    trained with modality m alone (the paper's domains are kinds of text; ours). Then expert 1 of every block is the
    seed's and expert m + 1 that of copy m, whatever else the model has is the uniform mean of the M + 1 dense models,
    routers are as they were drawn, and the mixture is trained on all modalities. At its start the feed-forward part is
    smaller than in a dense model, by the router's largest p: the loss jumps, which a warm-up of the learning rate
    softens.

    The layer is `bam` with M + 1 experts; with `attention="one"` only the feed-forward parts are upcycled and the
    attention is averaged, and with `experts=1` the whole is the plain mean of all parameters. A row that lacks a copy's
    modality is predicted from what its neighbours send, and counts like every other.

    Args:
        copies: M (the paper: code, law, mathematics).
        shares: of the epochs that the seed, all copies together, which are trained one after another, and the mixture
            get. With 0 for the mixture it is evaluated as it is made.
        rates: factors on the learning rate of the three. Continued training has half the rate in the paper.
    Raises:
        ValueError: an option out of range; too few epochs for the shares; another number of modalities; a model without
            layers `bam`, or of another number of experts than M + 1 or 1.
    """

    info = Info(
        "Zhang et al., BAM! Just Like That: Simple and Efficient Parameter Upcycling for Mixture of Experts",
        2024,
        golden="bam",
        cost="M + 1 dense models, and the mixture",
    )
    checked_with = {"scheme.options": dict(copies=2), "model.layer.name": "bam", "model.layer.options": dict(experts=3)}

    def __init__(
        self,
        *,
        copies: int = 3,
        shares: tuple[float, float, float] = (1.0, 1.0, 1.0),
        rates: tuple[float, float, float] = (1.0, 0.5, 0.5),
    ):
        if copies < 1:
            raise ValueError(f"scheme 'bam': copies={copies}; expected the number of modalities, at least 1")
        if len(shares) != 3 or len(rates) != 3 or min(shares) < 0 or not sum(shares) > 0 or min(rates) < 0:
            raise ValueError(
                f"scheme 'bam': shares={shares}, rates={rates}; expected three numbers each, none below 0, and a share "
                "above 0"
            )
        self.copies, self.shares, self.rates = copies, tuple(shares), tuple(rates)

    def build(self, make: Make, feature_dims: Mapping[str, int], target: Target, key: Array) -> Upcycled:
        del target
        names, experts = list(feature_dims), self.copies + 1
        if len(names) != self.copies:
            raise ValueError(f"scheme 'bam': copies={self.copies}; the data set has {len(names)} modalities {names}")
        mixture, *dense = (make(feature_dims, own) for own in jax.random.split(key, experts + 1))
        found = {block.experts for block in blocks(mixture).values()}
        if not found:
            raise ValueError("scheme 'bam' makes mixtures of layers 'bam', the model has none: set model.layer.name")
        if not found <= {1, experts}:
            raise ValueError(
                f"scheme 'bam': model.layer has experts={sorted(found)}; expected copies + 1 = {experts}, or 1 for the "
                "plain mean of parameters"
            )
        for model in dense:
            for block in blocks(model).values():
                block.dense()
        return Upcycled(dense, mixture)

    def stages(self, epochs: int) -> tuple[Stage, ...]:
        seed, each, mixture = self._lengths(epochs)
        copies = [
            Stage(
                n,
                forward=functools.partial(Upcycled.specialist, number=number),
                trains=(f"dense.{number}",),
                rate=self.rates[1],
                begin=functools.partial(branch, number=number),
            )
            for number, n in enumerate(each, 1)
        ]
        forward = functools.partial(Upcycled.specialist, number=0)
        return (
            Stage(seed, forward=forward, trains=("dense.0",), rate=self.rates[0]),
            *copies,
            Stage(mixture, trains=("mixture",), rate=self.rates[2], begin=mix),
        )

    def _lengths(self, epochs: int) -> tuple[int, list[int], int]:
        """The epochs of the seed, of every copy and of the mixture."""
        seed, together, mixture = np.asarray(self.shares) / sum(self.shares)
        ends = np.cumsum([seed, *[together / self.copies] * self.copies, mixture])
        first, *each, last = np.diff(np.round(ends * epochs).astype(int), prepend=0).tolist()
        for share, lengths in zip(self.shares, ([first], each, [last]), strict=True):
            if share > 0 and not all(lengths):
                raise ValueError(f"scheme 'bam': {epochs} epochs leave a stage of shares={self.shares} without any")
        return first, each, last


def branch(
    model: Upcycled, batch: Batch, target: Target, weight: Array, loss: TrainingLoss, key: Array, *, number: int
) -> None:
    """Copy `number` starts as the seed."""
    del batch, target, weight, loss, key
    model.branch(number)


def mix(model: Upcycled, batch: Batch, target: Target, weight: Array, loss: TrainingLoss, key: Array) -> None:
    """The mixture starts as what is made of the dense models."""
    del batch, target, weight, loss, key
    model.mix()
