"""Channel exchange: two modalities, the exchange by itself and bottlenecks in a row with their penalty.

From yikaiw/CEN at 0088d87a, on maps of one pixel: of a 3x3 kernel the middle one counts. In `bottleneck`, `out/penalty`
follows `main.py` (the halves of the scales of bn2, in turn), `out/ensemble` the end of `RefineNet.forward`.
"""

import functools

import jax
import numpy as np
from flax import nnx

from fusion_jax.fusion import cen
from fusion_jax.records import Context
from tests.helpers import assign, parameters, run
from tests.torch_names import torch_norm


def exchange(case):
    z = np.stack([case["in/x0"], case["in/x1"]], axis=1)
    scales = np.stack([case[f"param/bn_{m}.weight"] for m in range(2)])
    ours = cen.exchange(z, scales, np.ones(z.shape[:2], bool), case["option/bn_threshold"].item())
    for m in range(2):
        yield f"x{m}", ours[:, m], case[f"out/x{m}"]


def bottleneck(case):
    x = np.stack([case["in/x0"], case["in/x1"]], axis=1)
    blocks = sum(k.endswith("conv1.module.weight") for k in case)
    make = functools.partial(
        cen.CEN,
        2,
        x.shape[2],
        blocks=blocks,
        width=len(case["param/0.conv1.module.weight"]),
        threshold=case["option/bn_threshold"].item(),
        sparsity=case["option/lamda"].item(),
    )
    model = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
    values, running = {"alpha": case["param/alpha"]}, {}
    for b in range(blocks):
        for i in (1, 2, 3):
            kernel = case[f"param/{b}.conv{i}.module.weight"]
            values[f"blocks.{b}.conv{i}.kernel"] = kernel[..., kernel.shape[2] // 2, kernel.shape[3] // 2].T
            for m in range(2):
                ours, theirs = f"blocks.{b}.bn{i}.each.{m}", f"{b}.bn{i}.bn_{m}"
                values |= torch_norm(ours, case, f"param/{theirs}")
                running |= {f"{ours}.{s}": f"{theirs}.running_{s}" for s in ("mean", "var")}
    assign(model, values | {ours: case[f"param/{theirs}"] for ours, theirs in running.items()})
    training = bool(case["option/training"])
    fused = run(model, x, np.ones(x.shape[:2], bool), context=Context(key=jax.random.key(0) if training else None))
    for m in range(2):
        yield f"x{m}", fused.tokens[:, m], case[f"out/x{m}"]
    yield "ensemble", fused.out, case["out/ensemble"]
    yield "penalty", fused.losses["sparsity"], case["out/penalty"]
    for ours, theirs in running.items() if training else ():
        yield theirs, parameters(model)[ours][...], case[f"out/{theirs}"]
