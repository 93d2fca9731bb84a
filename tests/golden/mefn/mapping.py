"""MEFN: the stand-in's heads, Dempster fold and losses; masks, calibrator and UPL from independent NumPy."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion import mefn, mefn_calibrated
from fusion_jax.losses import evidential as losses
from fusion_jax.nn.evidence import evidence, opinion
from fusion_jax.records import EVALUATION, Context, Output, Target
from tests.helpers import assign


def compare_fused(fused, case):
    p = jnp.exp(fused.out)
    yield "fused_belief", p - fused.uncertainty[:, None] / p.shape[1], case["fused_belief"]
    yield "fused_uncertainty", fused.uncertainty, case["fused_uncertainty"]
    yield "fused_prob", p, case["fused_prob"]


def target_of(case):
    labels = jnp.asarray(case["label"])
    return Target("classes", labels=labels, num_outputs=case["alpha"].shape[-1]), jnp.ones(labels.size)


def dempster_tmc(case):
    x = case["x"]
    (nodes, modalities, dim), classes = x.shape, case["alpha"].shape[-1]
    heads = mefn_calibrated.MEFNCalibrated(modalities, dim, classes=classes, mutual=False, rngs=nnx.Rngs(0))
    parts = [f"param/Classifiers.{m}.fc.0" for m in range(modalities)]
    assign(
        heads,
        {
            "head.kernel": np.stack([case[f"{p}.weight"].T for p in parts]),
            "head.bias": np.stack([case[f"{p}.bias"] for p in parts]),
        },
        partial=True,
    )
    mask = np.ones((nodes, modalities), bool)
    logits = heads(x, mask).evidence.streams
    yield "evidence", evidence(logits), case["evidence"]
    yield "alpha", evidence(logits) + 1, case["alpha"]
    fused = mefn.MEFN(modalities, classes, rngs=nnx.Rngs(0))(logits, mask)
    yield "belief", opinion(evidence(fused.evidence.streams))[0], case["belief"]
    yield "uncertainty", fused.evidence.uncertainty, case["uncertainty"]
    yield "fused_alpha", fused.evidence.fused + 1, case["fused_alpha"]
    yield from compare_fused(fused, case)
    target, weight = target_of(case)
    y = np.eye(classes)[case["label"]]
    step, annealing = int(case["global_step"]), float(case["annealing_step"])
    annealed = min(1.0, step / annealing)
    yield "ce_loss_per_view", losses.risk(evidence(logits) + 1, y[:, None], annealed), case["ce_loss_per_view"]
    yield "ce_loss_fused", losses.risk(fused.evidence.fused + 1, y, annealed), case["ce_loss_fused"]
    yield "kl_per_view", losses.kl_to_uniform(evidence(logits) + 1), case["kl_per_view"]
    output = Output(fused.out, logits, x, None, mask, uncertainty=fused.uncertainty, evidence=fused.evidence)
    loss = losses.evidential(output, target, weight, context=Context(step=step), annealing=annealing, upl=0.0)
    yield "loss_total", loss, case["loss_total"]


def masked_fusion_independent(case):
    alpha, mask, x = case["alpha"], case["mask"], case["x"]
    (_, modalities, dim), classes = x.shape, alpha.shape[-1]
    logits = np.log(np.expm1(alpha - 1))  # softplus of them is the stored evidence
    fused = mefn.MEFN(modalities, classes, rngs=nnx.Rngs(0))(jnp.asarray(logits), mask)
    yield from compare_fused(fused, case)
    uncertainty = fused.evidence.uncertainty
    alone = opinion(evidence(jnp.asarray(logits)))[1]  # the stored array has the missing ones' own values too
    yield "modality_uncertainty", jnp.where(mask, uncertainty, alone), case["modality_uncertainty"]
    yield (
        "upl_per_node",
        losses.perceptual(fused.out, fused.uncertainty, jnp.asarray(case["label"])),
        case["upl_per_node"],
    )
    target, weight = target_of(case)
    said = dict(uncertainty=fused.uncertainty, evidence=fused.evidence)
    output = Output(fused.out, jnp.asarray(logits), x, None, mask, **said)
    with_upl, without = (losses.evidential(output, target, weight, context=EVALUATION, upl=w) for w in (1.0, 0.0))
    yield "upl_mean", with_upl - without, case["upl_mean"]
    features = mefn_calibrated.MEFNCalibrated(modalities, dim, classes=classes, mutual=False, rngs=nnx.Rngs(0))
    calibrated, _, share = features.calibration(jnp.where(mask[..., None], x, 0), uncertainty, mask)
    yield "calibration_share", share, case["calibration_share"]
    yield "calibrated_feature", calibrated, case["calibrated_feature"]
