"""What mechanisms write into a model before its training, from the training batch of its seed."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import nnx

from fusion_jax import zoo
from fusion_jax.fusion.base import Fusion
from fusion_jax.mixers.base import Mixer
from fusion_jax.training.prepare import Prepared
from fusion_jax.training.trial import known_to_model, scaled


def begins(model: nnx.Module) -> list[str]:
    """Its fusions and mixers that write something before training, by kind and name."""
    parts = [part for _, part in nnx.iter_modules(model)]
    found = []
    for kind, base in (("fusion", Fusion), ("mixer", Mixer)):
        own = [part for part in parts if isinstance(part, base) and type(part).begin is not base.begin]
        found += [f"{kind} {zoo.name_of(part)!r}" for part in own]
    return found


def begin(models: Sequence[nnx.Module], prepared: Prepared) -> None:
    """Lets every seed's fusions write what they keep of the training batch, where one does (`Fusion.begin`).

    Raises:
        ValueError: the model is a scheme's own, which holds such a fusion and has no `begin`.
    """
    beginning = begins(models[0])
    if not beginning:
        return
    if not hasattr(models[0], "begin"):
        raise ValueError(f"{beginning[0]} begins before training, which the scheme's model has no place for")
    for i, model in enumerate(models):
        trial, target = jax.tree.map(lambda a, i=i: a[i], (prepared.trials, prepared.target))
        key = jax.random.fold_in(trial.key, 2**32 - 1)  # epochs count from 0
        model.begin(scaled(prepared.batch, trial), known_to_model(target, trial.train_weight, key=key))
