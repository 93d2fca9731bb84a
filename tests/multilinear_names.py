"""The parameters of Cadene/block.bootstrap.pytorch's Block and Mutan under the names of `nn.multilinear`."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import jax
import numpy as np
from flax import nnx

from tests.helpers import assign, linear, run


def multilinear(case: dict, blocks: list[str]) -> dict:
    """{our path: array} for `nn.multilinear.Multilinear`.

    Args:
        blocks: the linear layers whose outputs are multiplied, one a block, {m} in the place of the modality. Those of
            one size are stacked.
    """
    own = range(1 if case["option/shared"] else 2)
    rank = int(case["option/rank"])
    values = {
        "linears.kernel": np.stack([case[f"param/linear{m}.weight"].T for m in own]),
        "linears.bias": np.stack([case[f"param/linear{m}.bias"] for m in own]),
        **linear("linear_out", case, "param/linear_out.weight", "param/linear_out.bias"),
    }

    def of(block: str, m: int, what: str) -> np.ndarray:
        return case[f"param/{block.format(m=m)}.{what}"]

    for i, (size, group) in enumerate(itertools.groupby(blocks, key=lambda block: of(block, 0, "weight").shape[1])):
        group = list(group)
        kernels = [[of(b, m, "weight").T.reshape(size, rank, size) for b in group] for m in own]
        values[f"merges.{i}.kernel"] = np.array(kernels)
        values[f"merges.{i}.bias"] = np.array([[of(b, m, "bias").reshape(rank, size) for b in group] for m in own])
    return values


def numbers(fusion, x, mask, weight):
    """z, the output, and the gradient of the weighted sum of it."""

    def weighed(x):
        out = fusion(x, mask).out
        return (out * weight).sum(), out

    gradient, out = jax.grad(weighed, has_aux=True)(x)
    return jax.vmap(fusion.net.product)(x, mask), out, gradient


def compared(make: Callable[[], nnx.Module], case: dict, blocks: list[str]):
    """(name, ours, reference's) of z, the output and the gradients of a weighted sum of it."""
    fusion = nnx.eval_shape(make)
    assign(fusion.net, multilinear(case, blocks))
    x = np.stack([case["in/x0"], case["in/x1"]], axis=1)
    z, out, gradient = run(fusion, x, np.ones(x.shape[:2], bool), case["in/weight"], by=numbers)
    yield "z", z, case["out/z"]
    yield "output", out, case["out/output"]
    for m in range(2):
        yield f"gradient of x{m}", gradient[:, m], case[f"out/grad_x{m}"]
