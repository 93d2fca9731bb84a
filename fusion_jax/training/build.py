"""From a plan to the objects it names: the model, the training loss and its L2 term."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from fusion_jax import tasks, zoo
from fusion_jax.losses.base import check_task
from fusion_jax.model import Model
from fusion_jax.plan import LossPlan, ModelPlan, Named
from fusion_jax.records import Array, Context, Output, Target
from fusion_jax.schemes.base import Scheme
from fusion_jax.traced import Numbers
from fusion_jax.training.parts import inside, leaf_names
from fusion_jax.training.step import LossFn, Penalty
from fusion_jax.zoo import nearest


def build_scheme(scheme: Named) -> Scheme:
    """The named scheme; the one that changes nothing for ""."""
    return zoo.make("scheme", scheme.name, options=scheme.options) if scheme.name else Scheme()


def build_model(
    plan: ModelPlan, scheme: Scheme, feature_dims: Mapping[str, int], target: Target, key: jax.Array
) -> nnx.Module:
    """The model, its parameters drawn from `key`; a scheme may put several into one."""
    return scheme.build(functools.partial(plain_model, plan, target), feature_dims, target, key)


def plain_model(plan: ModelPlan, target: Target, feature_dims: Mapping[str, int], key: jax.Array) -> Model:
    """The model without its scheme."""
    readout = plan.readout
    if not readout.name:
        name = tasks.of(target).readouts[target.level]
        readout = Named(name, zoo.options("readout", name))
    parts = {**vars(plan), "readout": readout}
    return Model(feature_dims, target, **parts, rngs=nnx.Rngs(key))


def build_loss(plan: LossPlan, model: ModelPlan, target: Target) -> LossFn:
    """(output, target, weight, context) -> the loss of `loss_name` plus the weighted others.

    Raises:
        ValueError: an option that the loss does not have, a loss that is for other tasks; whatever `loss_name` raises.
    """
    name = loss_name(plan, model, target)
    for each in (name, *plan.extra):
        if (info := zoo.info("loss", each)) is not None:
            check_task(each, info, target)
    zoo.check_options("loss", name, plan.options)
    main = functools.partial(_named, name, functools.partial(zoo.get("loss", name), **plan.options))
    extra = {other: functools.partial(_named, other, zoo.get("loss", other)) for other in plan.extra}

    def loss(output, target, weight, context):
        value = main(output, target, weight, context=context)
        weights = {**plan.extra, **(context.numbers.extra if context.numbers is not None else {})}
        return value + sum(weights[k] * f(output, target, weight, context=context) for k, f in extra.items())

    return loss


def _named(name: str, loss: LossFn, output: Output, target: Target, *rest: Array, **context: Context) -> Array:
    """The loss; of one that does not say its tasks, a field that this one's target has not is named with it."""
    try:
        return loss(output, target, *rest, **context)
    except AttributeError as error:
        if error.obj is not target:
            raise
        raise ValueError(f"loss {name!r}: {error} (loss.name)") from error


def loss_name(plan: LossPlan, model: ModelPlan, target: Target) -> str:
    """The named loss; else that of the fusion, where it fuses predictions and has one; else the task's.

    Raises:
        ValueError: the fusion's own loss is for other tasks than the target's.
    """
    usual, own = usual_loss(model.fusion.name, model.placement, target), tasks.of(target).loss
    known = getattr(zoo.info("loss", usual), "tasks", ())
    if not plan.name and usual != own and known and target.kind not in known:
        raise ValueError(
            f"fusion {model.fusion.name!r} is trained with its own loss {usual!r} on predictions of "
            f"{' and '.join(known)}, this data set has {target.kind}: name a loss (loss.name={own!r})"
        )
    return plan.name or usual


def usual_loss(fusion: str, placement: str, target: Target) -> str:
    """The loss where none is named: of the fusion, where it fuses predictions and has one; else the task's."""
    own = zoo.get("fusion", fusion).loss if placement == "decision" else None
    return own or tasks.of(target).loss


def build_penalty(plan: LossPlan) -> Penalty | None:
    """The L2 term as a function of the parameters and of what training is told; None where its strength is 0."""

    def penalty(params: Any, numbers: Numbers | None) -> Array:
        told = None if numbers is None else numbers.l2
        return l2(plan.l2 if told is None else told, plan.l2_parts, params)

    return penalty if plan.l2 else None


def l2(strength: float | Array, parts: tuple[str, ...], params: Any) -> Array:
    """strength / 2 sum theta^2 over the parameters in the named parts of the model, biases too; over all with ().

    This is the coupled form of the literature: its gradient passes through the optimiser. The decay of AdamW does not,
    and at rate lr takes only lr * weight_decay of a weight an epoch.

    Args:
        parts: dotted paths from the model on, such as "encoders" or "layers.0".
    Raises:
        ValueError: a part the model does not have.
    """
    leaves = dict(zip(leaf_names(params), jax.tree.leaves(params), strict=True))
    for part in parts:
        if not any(inside(name, [part]) for name in leaves):
            known = sorted(leaves)
            raise ValueError(
                f"loss.l2_parts: the model has no part {part!r}{nearest(part, known)}; it has: {', '.join(known)}"
            )
    chosen = [x for name, x in leaves.items() if not parts or inside(name, parts)]
    return 0.5 * strength * sum((x**2).sum() for x in chosen)
