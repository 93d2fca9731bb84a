"""The rules of a scheme, asked on 60 nodes with two modalities and a few epochs."""

from __future__ import annotations

import functools

import jax

from fusion_jax import zoo
from fusion_jax.checking.base import expect
from fusion_jax.checking.compared import close, finite
from fusion_jax.checking.inputs import planted
from fusion_jax.run.model import train_model
from fusion_jax.training import programs
from fusion_jax.training.prepare import prepare

EPOCHS = 12


class Case:
    """One scheme, and what it trains."""

    kind = "scheme"
    given = (), ()

    def __init__(self, name: str):
        self.name, self.mechanism = name, zoo.get("scheme", name)

    @functools.cached_property
    def planted(self):
        """A data set and the plan that trains with the scheme on it."""
        own = {"scheme.name": self.name, "training.epochs": EPOCHS, "training.chunk": EPOCHS}
        return planted({**own, **self.mechanism.checked_with})

    def stages(self, epochs: int):
        return zoo.make("scheme", self.name).stages(epochs)

    def prepared(self, seeds: tuple[int, ...]):
        data, plan = self.planted
        return prepare(plan.data, data, seeds, **plan.preparing)

    def trained(self, seeds: tuple[int, ...]):
        data, plan = self.planted
        return train_model(plan, data, self.prepared(seeds))


def its_stages_stay_within_the_epochs(case):
    for epochs in (EPOCHS, 200):
        stages = case.stages(epochs)
        expect(stages, f"no stage of {epochs} epochs", "return at least one Stage")
        total = sum(stage.epochs for stage in stages)
        expect(total <= epochs, f"stages of {total} epochs, expected at most {epochs}", "share the epochs among them")


def what_a_step_sees_has_the_form_of_the_batch(case):
    batch = case.prepared((0,)).batch

    def form(tree):
        return jax.tree.map(lambda a: (a.shape, a.dtype), tree)

    for stage in case.stages(200):
        seen = jax.eval_shape(stage.transform, batch, jax.random.key(0))
        same = form(seen) == form(batch)
        expect(same, "transform returns a batch of other shapes or dtypes", "dataclasses.replace(batch, ...)")


def a_seed_is_the_same_beside_whichever_other(case):
    """In one program for both: that it is so alone too is what the loop sees to, whatever the scheme."""
    with programs.held():
        first, second = (case.trained(seeds) for seeds in ((0, 1), (1, 2)))
    expect(finite(first.prediction), "predictions after training are not finite")
    close(second.prediction[0], first.prediction[1], "a seed beside another gets another result", tol=1e-4)
