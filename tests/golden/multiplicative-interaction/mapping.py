"""Multiplicative interactions: the three forms for two modalities, and several of the full form in a row."""

import numpy as np
from flax import nnx

from fusion_jax.fusion.multiplicative_interaction import MultiplicativeInteraction
from tests.helpers import assign


def build(case, form):
    x = case["in/x"]
    module = MultiplicativeInteraction(x.shape[1], x.shape[2], form=form, rngs=nnx.Rngs(0))
    mask = np.ones(x.shape[:2], bool)
    return module, x, mask


def two(case, form):
    module, x, mask = build(case, form)
    assign(module, {f"steps.0.{k}": case[f"param/{k}"] for k in "WUVb"})
    yield "y", module(x, mask).out, case["out/y"]


def matrix(case):
    yield from two(case, "matrix")


def vector(case):
    yield from two(case, "vector")


def scalar(case):
    yield from two(case, "scalar")


def fold(case):
    module, x, mask = build(case, "matrix")
    assign(module, {f"steps.{i}.{k}": case[f"param/{i}.{k}"] for i in range(x.shape[1] - 1) for k in "WUVb"})
    yield "y", module(x, mask).out, case["out/y"]
