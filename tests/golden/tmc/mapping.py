"""Trusted multi-view classification: one linear layer a view, the combined evidence, the loss and its gradients.

From hanmenghan/TMC at 08d0ca4, `TMC ICLR/model.py` without its calls of cuda().
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.tmc import TMC
from fusion_jax.losses.tmc import tmc
from fusion_jax.nn.evidence import evidence
from fusion_jax.records import Context, Output, Target


def model(case):
    views = range(sum(k.startswith("in/x") for k in case))
    names = [f"param/Classifiers.{v}.fc.0" for v in views]
    heads = [(case[f"{name}.weight"], case[f"{name}.bias"]) for name in names]
    labels, classes = case["in/label"], heads[0][1].size
    mask = np.ones((labels.size, len(views)), bool)
    fusion = TMC(len(views), classes, rngs=nnx.Rngs(0))
    target = Target("classes", labels=jnp.asarray(labels), num_outputs=classes)

    def loss(heads):
        logits = jnp.stack([case[f"in/x{v}"] @ weight.T + bias for v, (weight, bias) in enumerate(heads)], axis=1)
        fused = fusion(logits, mask)
        said = dict(uncertainty=fused.uncertainty, evidence=fused.evidence)
        output = Output(fused.out, logits, logits, None, mask, **said)
        context = Context(step=int(case["option/global_step"]))
        options = dict(context=context, annealing=case["option/lambda_epochs"].item())
        return tmc(output, target, jnp.ones(labels.size), **options), fused

    (value, fused), gradients = jax.value_and_grad(loss, has_aux=True)(heads)
    for v, name in enumerate(names):
        yield f"evidence of view {v}", evidence(fused.evidence.streams[:, v]), case[f"out/evidence{v}"]
        for what, gradient in zip(("weight", "bias"), gradients[v], strict=True):
            yield f"gradient of {name}.{what}", gradient, case[f"grad/{name.removeprefix('param/')}.{what}"]
    alpha = case["out/evidence"] + 1
    yield "combined evidence", fused.evidence.fused, case["out/evidence"]
    yield "probability", jnp.exp(fused.out), alpha / alpha.sum(1, keepdims=True)
    yield "uncertainty", fused.uncertainty, classes / alpha.sum(1)
    yield "loss", value, case["out/loss"]
