"""Universal training of every budget, then a policy that gives each node the cheapest one that is good enough.

Reference: Bulat et al., "VISion On Request", CVPR 2026 (see `fusion.visor`). Golden `visor`, the labels.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax import tasks, zoo
from fusion_jax.fusion.visor import CHOSEN, DRAWN, VISOR, with_mode
from fusion_jax.losses.base import weighted_mean
from fusion_jax.model import Model
from fusion_jax.records import EVALUATION, Array, Batch, Context, Info, Output, Target
from fusion_jax.schemes.base import Make, Scheme, Stage


class Routed(nnx.Module):
    """A model whose fusion is `visor`, and the label of every row: the budget that the policy learns to choose."""

    def __init__(self, model: Model, rows: int):
        self.model = model
        self.labels = nnx.BatchStat(jnp.zeros(rows, jnp.int32))

    @property
    def fusion(self) -> VISOR:
        return self.model.fusions[0]

    def __call__(self, batch: Batch, *, context: Context = EVALUATION) -> Output:
        return self.model(batch, context=context)

    def begin(self, batch: Batch, context: Context = EVALUATION) -> None:
        """Lets the model's fusions begin."""
        self.model.begin(batch, context)


class Visor(Scheme):
    """Stage 1 trains with one budget for all nodes, drawn anew at every step; stage 2 the policy alone.

    The budget is a function of the step's key, uniform on 0 ... K. Evaluation in stage 1 has all K. Then every
    training row is labelled with the smallest budget at which the probability of its true class is at least `threshold`
    times that at K (K itself always is), and the policy learns the labels by cross-entropy while all else stays. From
    then on each node has the budget that its policy finds most probable, in evaluation too. Rows the labels come from
    are training rows; which epoch is kept is decided on validation rows, as ever.

    Every budget counts as viable (the paper keeps those that an evaluation finds so), and what its stages do not move
    are parameters: running statistics of batch norms elsewhere in the model go on moving in stage 2.

    Args:
        threshold: in (0, 1].
        budget: None, or the budget that all nodes have after stage 1, which then takes all epochs: the one network
            that was trained for every budget, at this one.
        shares: of the epochs that the stages get.
        rates: factors on the learning rate in the stages.
    Raises:
        ValueError: an option out of range; another fusion than `visor`, or one with a budget of its own; a target that
            is no classes of nodes; too few epochs for two stages.
    """

    info = Info(
        "Bulat et al., VISion On Request: Enhanced VLLM efficiency with sparse, dynamically selected, vision-language "
        "interactions",
        2026,
        golden="visor",
        cost="K + 1 forward passes between the stages",
    )
    checked_with = {"model.fusion.name": "visor", "model.fusion.options": dict(layers=3, heads=2, hidden=8)}

    def __init__(
        self,
        *,
        threshold: float = 0.99,
        budget: int | None = None,
        shares: tuple[float, float] = (3, 1),
        rates: tuple[float, float] = (1.0, 1.0),
    ):
        if not 0 < threshold <= 1:
            raise ValueError(f"scheme 'visor': threshold={threshold}, expected a number in (0, 1]")
        if len(shares) != 2 or len(rates) != 2 or min(*shares, *rates) <= 0:
            raise ValueError(f"scheme 'visor': shares={shares}, rates={rates}; expected two numbers above 0 each")
        if budget is not None and budget < 0:
            raise ValueError(f"scheme 'visor': budget={budget}, expected a number of layers, at least 0, or None")
        self.budget = budget
        self.threshold, self.shares, self.rates = threshold, tuple(shares), tuple(rates)

    def build(self, make: Make, feature_dims: Mapping[str, int], target: Target, key: Array) -> Routed:
        if target.words != "classes of nodes":
            raise ValueError(f"scheme 'visor' compares probabilities of nodes' classes, got {target.words}")
        model = make(feature_dims, key)
        if not isinstance(model.fusions[0], VISOR):
            raise ValueError(
                f"scheme 'visor' trains budgets of fusion 'visor', not {zoo.name_of(model.fusions[0])!r}: "
                "set model.fusion.name to 'visor'"
            )
        fusion = model.fusions[0]
        if fusion.budget is not None:
            raise ValueError(
                f"scheme 'visor' draws and chooses budgets, the fusion has budget={fusion.budget}: leave it out there "
                "(scheme.options.budget is that of evaluation)"
            )
        if self.budget is not None and self.budget > fusion.most:
            raise ValueError(
                f"scheme 'visor': budget={self.budget}, expected 0 to {fusion.most}, the layers of the fusion that "
                "rewrite"
            )
        return Routed(model, len(target))

    def stages(self, epochs: int) -> tuple[Stage, ...]:
        if self.budget is not None:
            return Stage(epochs, transform=self.transform, begin=begin_drawing, rate=self.rates[0]), Stage(
                0, begin=self.begin_fixed
            )
        first = int(np.round(self.shares[0] / sum(self.shares) * epochs))
        if not 0 < first < epochs:
            raise ValueError(f"scheme 'visor': {epochs} epochs leave a stage of shares={self.shares} without any")
        return (
            Stage(first, transform=self.transform, begin=begin_drawing, rate=self.rates[0]),
            Stage(
                epochs - first,
                transform=self.transform,
                loss=policy_loss,
                begin=self.begin_choosing,
                trains=("model.fusions.0.policy",),
                rate=self.rates[1],
            ),
        )

    def begin_fixed(self, model: Routed, batch: Batch, target: Target, weight: Array, loss, key: Array) -> None:
        """From here every node has the scheme's budget."""
        del batch, target, weight, loss, key
        with_mode(model.fusion, self.budget)

    def begin_choosing(self, model: Routed, batch: Batch, target: Target, weight: Array, loss, key: Array) -> None:
        """Labels the training rows; from here the policy chooses."""
        del loss, key
        score = scores(model, batch, target, weight)
        label = cheapest(score, jnp.arange(score.shape[1]), self.threshold)
        model.labels[...] = jnp.where(weight > 0, label, 0)
        with_mode(model.fusion, CHOSEN)


def begin_drawing(model: Routed, batch: Batch, target: Target, weight: Array, loss, key: Array) -> None:
    """From here every step draws a budget."""
    del batch, target, weight, loss, key
    with_mode(model.fusion, DRAWN)


def scores(model: Routed, batch: Batch, target: Target, weight: Array) -> Array:
    """[rows, K + 1]: the probability of a training row's true class when every node has budget 0 ... K; 0 elsewhere."""
    context = Context(target=tasks.of(target).hide_unseen(target, weight > 0), train=weight > 0)
    found = []
    for budget in range(model.fusion.most + 1):
        with_mode(model.fusion, budget)
        p = _probabilities(*nnx.split(model), batch, context)[: len(weight)]
        own = jnp.take_along_axis(p, target.labels[:, None].astype(jnp.int32), axis=1)[:, 0]
        found.append(jnp.where(weight > 0, own, 0))
    return jnp.stack(found, axis=1)


@functools.partial(jax.jit, static_argnums=0)  # one program for all budgets and seeds: the mode is among the state
def _probabilities(graphdef, state, batch: Batch, context: Context) -> Array:
    """[rows, classes], in evaluation."""
    return jax.nn.softmax(nnx.merge(graphdef, state)(batch, context=context).prediction)


def cheapest(score: Array, cost: Array, threshold: float) -> Array:
    """int [rows]: of the configurations of `score` [rows, K + 1] the one of least cost [K + 1] that reaches the
    threshold times the last one's score; the last one, which is the full one, always does."""
    feasible = score >= threshold * score[:, -1:]
    return jnp.argmin(jnp.where(feasible, cost.astype(score.dtype), jnp.inf), axis=1).astype(jnp.int32)


def policy_loss(model: Routed, output: Output, target: Target, weight: Array, step: Array, key: Array) -> Array:
    """Mean over the training rows of -log p(label), p the policy's."""
    del target, step, key
    (said,) = (a for a in output.attention if a.name.endswith(": budget"))
    log_p = jax.nn.log_softmax(said.scores[: len(weight)])
    own = jnp.take_along_axis(log_p, model.labels[...][:, None], axis=1)[:, 0]
    return weighted_mean(-own, weight)
