"""Mixture of modality experts: gates, mixture and balancing loss, in training with the noise of the case.

The reference's experts read all modalities; those of modality m have weights 0 outside its block, and write
D of their M D outputs.
"""

import numpy as np
from flax import nnx

from fusion_jax.fusion.moe import MoE
from tests.helpers import assign, shown


def outputs(case):
    x, first = case["in/x"], case["param/experts.weight_htoh4"]
    modalities, dim = x.shape[1:]
    total, hidden, _ = first.shape
    experts = total // modalities
    k = int((case["out/gates"][0] > 0).sum())
    module = MoE(modalities, dim, experts=experts, k=k, hidden=hidden, balance=1.0, rngs=nnx.Rngs(0))
    blocks = first.reshape(modalities, experts, hidden, modalities, dim)
    own = np.stack([blocks[m, e, :, m] for m in range(modalities) for e in range(experts)])  # [K, hidden, D]
    assign(
        module,
        {
            "w_gate.kernel": case["param/gate.w_gate"],
            "w_noise.kernel": case["param/gate.w_noise"],
            "experts.fc1.kernel": own.transpose(0, 2, 1),
            "experts.fc1.bias": case["param/experts.bias_htoh4"],
            "experts.fc2.kernel": case["param/experts.weight_h4toh"][:, :dim].transpose(0, 2, 1),
            "experts.fc2.bias": case["param/experts.bias_h4toh"][:, :dim],
        },
    )
    y, gates, loss = module.mix(x, np.ones(x.shape[:2], bool), case.get("in/noise"))
    yield "gates", gates, case["out/gates"]
    yield "y", y, case["out/y"]
    if "out/loss" in case:
        yield "loss", loss, case["out/loss"]
    if "in/noise" not in case:
        fused = module(x, np.ones(x.shape[:2], bool))
        yield "y of the call", fused.out, case["out/y"]
        yield "weights", shown(fused, "gates").reshape(gates.shape), case["out/gates"]


def training(case):
    yield from outputs(case)


def evaluation(case):
    yield from outputs(case)
