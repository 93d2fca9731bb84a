"""Training gradients of every mechanism as an accelerator gets them, without having one: they lower for CUDA and TPU,
in single precision, and seeds are an axis of one program and not one after another."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.training.derived import structures_of, with_structures
from fusion_jax.training.trial import known_to_model, scaled
from tests import tiny

KINDS = ("fusion", "layer", "encoder", "readout")
OPTIONS = {"moh_llama": {"model__fusion__options": dict(heads=4, kv_heads=2, shared=2, routed=1)}}
VIEWS = {"spatialglue": {"data__views": ("planted", "planted")}}
OTHER_DATA = ("functional_time", "dot", "hadamard", "histograph", "mean")  # times of edges, links and graphs
# Every seed has edges of its own there, which no product takes side by side
CHOOSES_EDGES = {("layer", "biformer"), ("fusion", "st_align")}
MECHANISMS = [
    (kind, name)
    for kind in KINDS
    for name in zoo.names(kind)
    if not (name in OTHER_DATA and kind in ("encoder", "readout"))
]


@pytest.fixture(scope="module", autouse=True)
def as_users_run():
    with tiny.as_users_run():
        yield


def gradient_of(kind: str, name: str):
    """The gradient of one seed's training loss (what a model predicts, squared, and its own losses), and arguments of
    two seeds."""
    changes = {f"model__{kind}__name": name} | (OPTIONS | VIEWS).get(name, {})
    if kind == "fusion" and "before" not in (placements := zoo.get(kind, name).placements):
        changes["model__placement"] = placements[0]
    plan, data = tiny.cell(**changes).plan, tiny.dataset()
    ready = tiny.prepared(plan, data, (0, 1))
    model = tiny.model(plan, data, ready)
    ready = with_structures(ready, *structures_of(model))
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def gradient(params, trial, target, batch):
        told = known_to_model(target, trial.train_weight, key=trial.key, step=jnp.array(0), total=3)
        seen = scaled(batch, trial)

        def loss(params):
            output = nnx.merge(graphdef, params, rest, copy=True)(seen, context=told)
            return sum((a.astype(jnp.float32) ** 2).sum() for a in (output.prediction, *output.losses.values()))

        return jax.grad(loss)(params)

    two = jax.tree.map(lambda a: jnp.stack([a, a]), params)
    return gradient, (two, ready.trials, ready.target, ready.batch)


def lowered(function, arguments, platform: str) -> str:
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize(("kind", "name"), MECHANISMS, ids=[f"{kind}-{name}" for kind, name in MECHANISMS])
def test_it_lowers_and_seeds_are_no_loop(kind, name):
    gradient, arguments = gradient_of(kind, name)
    seeds = jax.vmap(gradient, (0, 0, 0, None))
    text = lowered(seeds, arguments, "cuda")
    assert "f64" not in text and "bcsr" not in text
    assert "func.func public @main" in lowered(seeds, arguments, "tpu")
    if (kind, name) not in CHOOSES_EDGES:
        one = functools.partial(jax.tree.map, lambda a: a[0])
        alone = lowered(lambda *a: gradient(*map(one, a[:3]), a[3]), arguments, "cuda")
        assert text.count("stablehlo.while") == alone.count("stablehlo.while")
