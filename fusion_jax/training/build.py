"""From a resolved config to the objects it names: the one place that reads a config's model, scheme and loss."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from fusion_jax import zoo
from fusion_jax.data import Dataset
from fusion_jax.model import Model
from fusion_jax.records import Array, Target
from fusion_jax.schemes.base import Scheme
from fusion_jax.training.prepare import select_modalities
from fusion_jax.training.step import Penalty
from fusion_jax.zoo import nearest

TASK_LOSS = {"classes": "cross_entropy", "values": "mse", "survival": "cox"}
TASK_READOUT = {"node": "last", "graph": "mean"}


def build_scheme(config: Mapping[str, Any]) -> Scheme:
    """The scheme of a resolved config; the one that changes nothing where it names none."""
    part = config["scheme"]
    return zoo.make("scheme", part["name"], options=part["options"]) if part["name"] else Scheme()


def build_model(
    config: Mapping[str, Any], feature_dims: Mapping[str, int], target: Target, key: jax.Array
) -> nnx.Module:
    """The model of a resolved config, its parameters drawn from `key`; a scheme may put several into one."""
    make = functools.partial(plain_model, config, target)
    return build_scheme(config).build(make, feature_dims, target, key)


def plain_model(config: Mapping[str, Any], target: Target, feature_dims: Mapping[str, int], key: jax.Array) -> Model:
    """The model of a resolved config without its scheme."""
    part = config["model"]
    readout = part["readout"]
    if not readout["name"]:
        name = TASK_READOUT[target.level]
        readout = dict(name=name, options=zoo.options("readout", name))
    return Model(
        feature_dims,
        target,
        dim=part["dim"],
        placement=part["placement"],
        encoder=part["encoder"],
        fusion=part["fusion"],
        layer=part["layer"],
        readout=readout,
        layers=part["layers"],
        missing=part["missing"],
        presence=part["presence"],
        head=part["head"],
        activation=part["activation"],
        rate=part["rate"],
        rngs=nnx.Rngs(key),
    )


def model_builder(config: Mapping[str, Any], data: Dataset):
    """key -> model, for a data set that is not on the device yet."""
    features, _ = select_modalities(data, config["data"]["modalities"], config["data"]["graph"])
    return functools.partial(build_model, config, {k: x.shape[1] for k, x in features.items()}, data.target)


def build_loss(config: Mapping[str, Any], target: Target):
    """(output, target, weight, context) -> the config's loss plus its weighted extras."""
    part = config["loss"]
    fusion = zoo.get("fusion", config["model"]["fusion"]["name"])
    decision = config["model"]["placement"] == "decision"
    own = fusion.loss if decision else None
    if own and not part["name"] and target.kind != "classes":
        raise ValueError(
            f"fusion {config['model']['fusion']['name']!r} is trained with its own loss {own!r} on predictions of "
            f"classes, this data set has {target.kind}: name a loss (loss.name={TASK_LOSS[target.kind]!r})"
        )
    name = part["name"] or own or TASK_LOSS[target.kind]
    zoo.check_options("loss", name, part["options"])
    main = functools.partial(zoo.get("loss", name), **part["options"])
    extra = {n: (w, zoo.get("loss", n)) for n, w in part["extra"].items()}

    def loss(output, target, weight, context):
        value = main(output, target, weight, context=context)
        return value + sum(w * f(output, target, weight, context=context) for w, f in extra.values())

    return loss


def build_penalty(config: Mapping[str, Any]) -> Penalty | None:
    """The L2 term of the config's loss as a function of the parameters; None where its strength is 0."""
    strength, parts = (config["loss"][key] for key in ("l2", "l2_parts"))
    return functools.partial(l2, strength, tuple(parts)) if strength else None


def l2(strength: float, parts: tuple[str, ...], params: Any) -> Array:
    """strength / 2 sum theta^2 over the parameters in the named parts of the model, biases too; over all with ().

    This is the coupled form of the literature: its gradient passes through the optimiser. The decay of AdamW does not,
    and at rate lr takes only lr * weight_decay of a weight an epoch.

    Args:
        parts: dotted paths from the model on, such as "encoders" or "layers.0".
    Raises:
        ValueError: a part the model does not have.
    """
    leaves = {
        jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value"): x
        for path, x in jax.tree_util.tree_leaves_with_path(params)
    }

    def inside(name, part):
        return f"{name}.".startswith(f"{part}.")

    for part in parts:
        if not any(inside(name, part) for name in leaves):
            known = sorted(leaves)
            raise ValueError(
                f"loss.l2_parts: the model has no part {part!r}{nearest(part, known)}; it has: {', '.join(known)}"
            )
    chosen = [x for name, x in leaves.items() if not parts or any(inside(name, part) for part in parts)]
    return 0.5 * strength * sum((x**2).sum() for x in chosen)
