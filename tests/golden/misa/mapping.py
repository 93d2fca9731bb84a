"""MISA: text (t), vision (v) and sound (a), from the projections on, evaluation mode.

From declare-lab/MISA at ec42fadd, its projections reading vectors of one width in place of states of LSTMs, and the
width of the feed-forward part, PyTorch's default there, smaller. The losses are `solver.py`'s, without their weights;
`out/grad_*` the gradients of their weighted sum.
"""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.misa import MISA
from tests.helpers import assign, linear, prefixed, state
from tests.torch_names import torch_encoder_layer, torch_linear

NAMES = "tva"


def _linears(prefix, case, names):
    parts = [linear("", case, f"{name}.weight", f"{name}.bias") for name in names]
    return {f"{prefix}{k}": np.stack([part[k] for part in parts]) for k in parts[0]}


def _values(case):
    last = dict(t=1, v=1, a=3)  # as the code numbers them
    norms = [f"param/project_{m}.project_{m}_layer_norm" for m in NAMES]
    return {
        **_linears("project", case, [f"param/project_{m}.project_{m}" for m in NAMES]),
        "norm.scale": np.stack([case[f"{name}.weight"] for name in norms]),
        "norm.bias": np.stack([case[f"{name}.bias"] for name in norms]),
        **_linears("private", case, [f"param/private_{m}.private_{m}_{last[m]}" for m in NAMES]),
        **_linears("recon", case, [f"param/recon_{m}.recon_{m}_1" for m in NAMES]),
        **torch_linear("shared", case, "param/shared.shared_1"),
        **prefixed("transformer", torch_encoder_layer("", case, "param/transformer_encoder.layers.0.")),
        **torch_linear("fusion.fc1", case, "param/fusion.fusion_layer_1"),
        **torch_linear("fusion.fc2", case, "param/fusion.fusion_layer_3"),
    }


def fusion(case):
    x = np.stack([case[f"in/{m}"] for m in NAMES], axis=1)
    mask = np.ones(x.shape[:2], bool)
    losses = ("similarity", "difference", "reconstruction")
    weights = dict(zip(losses, (case[f"option/{k}_weight"].item() for k in losses), strict=True))
    model = MISA(
        3,
        x.shape[2],
        width=case["param/shared.shared_1.bias"].size,
        heads=int(case["option/heads"]),
        hidden=case["param/transformer_encoder.layers.0.linear1.bias"].size,
        moments=int(case["option/moments"]),
        batch=len(x),
        out_dim=case["param/fusion.fusion_layer_3.bias"].size,
        **weights,
        rngs=nnx.Rngs(0),
    )
    assign(model, _values(case))
    u, p, s = model.parts(x)
    recon = np.stack([case[f"out/{m}_recon"] for m in NAMES], axis=1)
    fused = model(x, mask)
    for i, m in enumerate(NAMES):
        yield f"{m} projected", u[:, i], case[f"out/{m}_orig"]
        yield f"{m} private", state(fused, "private")[:, i], case[f"out/private_{m}"]
        yield f"{m} shared", state(fused, "shared")[:, i], case[f"out/shared_{m}"]
    yield "output", fused.out, case["out/output"]
    h = model.transformer(jnp.concatenate([p, s], axis=1))
    yield "transformer", h.swapaxes(0, 1), case["out/transformer"]
    yield "u - reconstruction", jnp.mean((u - recon) ** 2), case["out/reconstruction_loss"]
    for name in losses:
        yield name, fused.losses[name], weights[name] * case[f"out/{name}_loss"]
    gradients = nnx.grad(lambda model: sum(model(x, mask).losses.values()))(model)
    yield "gradient of shared", gradients.shared.kernel[...].T, case["out/grad_shared"]
    yield "gradient of private_t", gradients.private.kernel[...][0].T, case["out/grad_private_t"]
    yield "gradient of project_v", gradients.project.kernel[...][1].T, case["out/grad_project_v"]
