"""Transport of tables: metrics of a trajectory, assignments to dummies, prediction, the distance of Gaussians, and the
encoder block; points of a class are counted instance first there, and every instance's steps first here."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.analysis.tabular_ot import transport
from fusion_jax.fusion.tabular_ot import EncoderBlock
from fusion_jax.merging.ot_fusion.rules import sinkhorn
from fusion_jax.nn import transport as host
from fusion_jax.schemes.tabular_ot import DummyMap, apart, dummy_means, instance_logits, point_logits
from tests.helpers import assign


def instance_first(plan, steps):
    """A plan within a class with both sides counted as instance + step x instances."""
    there = plan.reshape(-1, steps).T.ravel()  # now by places of ours, in their order
    return there // steps + there % steps * (len(plan) // steps)


def metrics(case):
    z = case["projections"]
    epochs, n, steps, width = z.shape
    said = transport(z.reshape(epochs, n * steps, width), np.repeat(case["labels"], steps))
    yield "D", said.distance, case["per_class_distance"]
    yield "sum of D", said.distance.sum(), case["transformer_distance"]
    yield "W", said.wasserstein, case["per_class_wasserstein"]
    yield "sum of W", said.wasserstein.sum(), case["wasserstein_distance"]
    yield "C", said.lengths.sum(), case["transformer_cost"]
    yield "C of an instance", said.lengths.reshape(n, steps).sum(1), case["transformer_cost_points"]
    yield "efficiency", np.float64(said.efficiency), case["efficiency"]
    yield "optimality", np.float64(said.optimality), case["optimality"]
    yield "Monge gap", np.float64(said.monge_gap), case["monge_gap"]
    yield "matching", np.float64(said.matched), case["matching"]
    for i, plan in enumerate(said.plans):
        yield f"plan {i}", instance_first(plan, steps), case[f"plan_class_{i}"]
    yield "gap of squares", np.float64(said.squared_gap), case["project_monge_gap_mean"]
    yield "straightness", np.float64(said.straightness), case["project_efficiency"]


def classwise_matching(case):
    real, dummy = case["real"], case["dummy"]
    n, steps, width = real.shape
    labels = [np.repeat(case[f"labels_{which}"], steps) for which in ("real", "dummy")]
    points = dummy.reshape(-1, width)
    found = host.within_classes(real.reshape(-1, width), points, *labels)
    matched = points[found].reshape(dummy.shape)
    yield "assignment", found, case["assignment"]
    yield "matched", matched, case["dummy_matched"]
    if steps == 1:  # with more the code reads flat indices in another order
        yield "as the code has it", matched, case["dummy_reordered_code"]
    means = case["dummy_means"]
    yield "means", dummy_means(*means.shape), means


def prediction(case):
    hidden, means = case["W1"].shape[1], case["dummy_means"]
    width = means.shape[1]
    model = DummyMap((width - 1,), (hidden,), 1, means, rate=0.0, rngs=nnx.Rngs(0))
    for place, linear in enumerate(model.linears, 1):
        linear.kernel.set_value(jnp.asarray(case[f"W{place}"]))
        linear.bias.set_value(jnp.asarray(case[f"b{place}"]))
    model.mean.set_value(jnp.asarray(case["feature_mean"]))
    model.sd.set_value(jnp.asarray(case["feature_sd"]))
    f = model.mapped(model.standardised(jnp.asarray(case["x"])))
    yield "mapped", f, case["mapped"]
    yield "scores", jnp.exp(point_logits(f, means)), case["scores"]
    yield "of instances", jnp.exp(instance_logits(f, means)), case["instance_scores"]
    yield "means", dummy_means(*means.shape), means
    # the code's own: not centred, by the new data's deviation, and products over a sum over steps and classes
    x = case["x"]
    code = model.mapped(jnp.asarray(x / x.std((0, 1), ddof=1)))
    yield "scores of the code", jnp.exp(point_logits(code, means)), case["scores_code"]
    near = np.exp(-np.asarray(apart(code, means)))
    yield "of instances, of the code", near.prod(1) / near.sum((1, 2))[:, None], case["instance_scores_code"]


def gaussian_distance(case):
    yield (
        "distance",
        host.gaussian_distance(*(case[f"{k}_{i}"] for i in (1, 2) for k in ("mean", "cov"))),
        case["distance"],
    )


def encoder_block(case):
    x = jnp.asarray(case["x"])
    width, heads, size = case["attention.query.kernel"].shape
    block = EncoderBlock(width, heads, size, len(case["conv_1.bias"]), rngs=nnx.Rngs(0))
    values = {}
    for part in ("query", "key", "value"):
        values[f"attention.{part}.kernel"] = case[f"attention.{part}.kernel"].reshape(width, -1)
        values[f"attention.{part}.bias"] = case[f"attention.{part}.bias"].ravel()
    values["attention.out.kernel"] = case["attention.output.kernel"].reshape(-1, width)
    values["attention.out.bias"] = case["attention.output.bias"]
    for i in (1, 2):
        values[f"norm_{i}.scale"], values[f"norm_{i}.bias"] = case[f"norm_{i}.gamma"], case[f"norm_{i}.beta"]
        for part in ("kernel", "bias"):
            values[f"conv.fc{i}.{part}"] = case[f"conv_{i}.{part}"]
    assign(block, values)
    after, weights = block.attend(x)
    yield "attention", weights, case["attention"]
    yield "after attention", after, case["after_attention"]
    yield "output", block(x)[0], case["output"]


def single_cloud(case):
    z = case["trajectory"]
    n, one = z.shape[1], np.zeros(z.shape[1], int)
    starts = [transport(z[[0, i]], one) for i in range(len(z))]
    steps = [transport(z[i : i + 2], one) for i in range(len(z) - 1)]
    for name, found, end in (("from start", starts, "from_start"), ("steps", steps, "steps")):
        yield f"W2 {name}", np.array([s.wasserstein[0] ** 2 / n for s in found]), case[f"w2sq_{end}"]
        yield f"cost {name}", np.array([s.distance[0] ** 2 / n for s in found]), case[f"paired_cost_{end}"]
    yield "gap", np.array([s.squared_gap for s in starts]), case["monge_gap"]
    yield "permutation", host.partners(z[0], z[-1]), case["optimal_permutation"]
    cost = np.array([[host.squared_distance(a, b) for b in z[-1]] for a in z[0]])
    plan = sinkhorn(cost, float(case["sinkhorn_eps"]), tolerance=1e-13)
    yield "entropic plan", plan, case["sinkhorn_plan"]
    yield "entropic cost", (plan * cost).sum(), case["sinkhorn_cost"]
