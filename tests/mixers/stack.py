"""Two layers of attention over tokens in float64, and what a mixer makes of them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax import zoo
from fusion_jax.model import Model
from fusion_jax.nn.attention import attend
from fusion_jax.nn.mixing import Mixing
from fusion_jax.plan import LayerPlan, MixerPlan, Named
from fusion_jax.records import Batch, Target
from tests.helpers import drawn

N, M, D, HEADS = 4, 3, 8, 2


def mixer(name: str, **options):
    return zoo.make("mixer", name, M, D, options=options, rngs=nnx.Rngs(0))


def qkv(seed: int = 0, scale: float = 1.0, length: int = M):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(s * rng.normal(size=(N, length, HEADS, D // HEADS))) for s in (scale, scale, 1.0))


def weighed(name: str, q, k, v, mask=None, bias=None, **options):
    """Output and weights of one attention."""
    with Mixing("a test", mixer(name, **options), {1}).inside():
        return attend(q, k, v, mask, bias=bias)


def made(fusion: str, name: str = "standard", which: str = "uniform", **changes) -> Model:
    """A model of M modalities of width D; `changes` are its parts, and `options` those of the fusion."""
    own = dict(layers=2, heads=HEADS, rate=0.0) if fusion == "deconstructing_attention" else {}
    parts = dict(
        dim=D,
        placement="before",
        encoder=Named("identity"),
        fusion=Named(fusion, changes.pop("options", own)),
        layer=LayerPlan("none"),
        readout=Named("last"),
        layers=0,
        mixer=MixerPlan(name, {}, which, changes.pop("part", "fusion")),
    )
    target = Target("classes", labels=jnp.zeros(N, jnp.int32), num_outputs=2)
    return Model({f"m{i}": D for i in range(M)}, target, **{**parts, **changes}, rngs=nnx.Rngs(0))


def model(name: str = "standard", which: str = "uniform", fusion: str = "deconstructing_attention", **changes) -> Model:
    """The same in float64, numbers drawn for all of it."""
    return drawn(lambda: made(fusion, name, which, **changes))


def batch(x=None, mask=None, graph=None) -> Batch:
    x = np.random.default_rng(5).normal(size=(N, M, D)) if x is None else x
    mask = np.ones(x.shape[:2], bool) if mask is None else mask
    return Batch({f"m{i}": jnp.asarray(x[:, i]) for i in range(M)}, jnp.asarray(mask), graph)


def shown(found: Model, given: Batch) -> np.ndarray:
    """[N, L, H, M, M], what the layers of the fusion look at."""
    (attention,) = found(given).attention
    return np.asarray(attention.weights)
