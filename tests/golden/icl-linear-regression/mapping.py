"""He et al.: one layer of full heads, the authors' stack with its two softmaxes, the estimators in closed form."""

import numpy as np
from flax import nnx

from fusion_jax.analysis.icl_linear_regression import estimators as closed
from fusion_jax.data.icl_linear_regression import draw
from fusion_jax.fusion.icl_linear_regression import IclLinearRegression
from fusion_jax.graphs import Graph
from fusion_jax.records import EVALUATION
from tests.helpers import assign

RTOL = {"monte_carlo": 0.05}  # statistical, as its README says
DRAWS = 10  # of ours to each of theirs: the noise is theirs
STEP, EVERY = 1e-3, 50  # of the gradient flow, by the README


def star(z, z_q):
    """x [B (L + 1), 2, d], the tokens split into features and label, a batch of B sequences, the query last."""
    tokens = np.concatenate([z, z_q], 1)
    b, size, e = tokens.shape
    flat = tokens.reshape(b * size, e)
    x = np.zeros((len(flat), 2, max(e - 1, 1)))
    x[:, 0], x[:, 1, 0] = flat[:, :-1], flat[:, -1]
    return x, np.ones((len(flat), 2), bool), np.full(b, size)


def edges(n_node, pairs):
    size = n_node[0]
    ends = (np.array(pairs) + size * np.arange(len(n_node))[:, None, None]).reshape(-1, 2)
    return Graph.create(*ends.T, n_node)


def attention(case):
    x, mask, n_node = star(case["z"], case["z_q"])
    e, heads = case["z"].shape[-1], case["q_proj.weight"].shape[0] // case["z"].shape[-1]
    outputs = case["o_proj.weight"].shape[0]
    options = dict(heads=heads, widths=(e - 1, 1), predicts=True, outputs=outputs)
    module = IclLinearRegression(2, e - 1, **options, rngs=nnx.Rngs(0))
    names = dict(query="q_proj", key="k_proj", value="v_proj", out="o_proj")
    assign(module, {f"blocks.0.{ours}.kernel": case[f"{theirs}.weight"].T for ours, theirs in names.items()})
    length = n_node[0] - 1
    graph = edges(n_node, [(i, length) for i in range(length)])
    fused = module(x, mask, graph, EVALUATION)
    output = fused.prediction.reshape(*n_node.shape, -1, outputs)[:, -1:]
    yield "output", output, case["output"]
    yield "mse", ((output - case["y_q"]) ** 2).mean(), case["mse"]
    weights = fused.attention[0].weights.reshape(len(n_node), length, heads)
    yield "attn_weights", weights.swapaxes(1, 2)[:, :, None], case["attn_weights"]
    kq, ov = module.blocks[0].patterns()
    yield "KQ_per_head", kq, case["KQ_per_head"]
    yield "OV_per_head", ov, case["OV_per_head"]


def causal_stack(case):
    x, mask, n_node = star(case["z"], case["z_q"])
    e, heads = case["z"].shape[-1], case["attention_layers.0.q_proj.weight"].shape[0] // case["z"].shape[-1]
    layers = sum(name.endswith("q_proj.weight") for name in case)
    outputs = case["final_linear.weight"].shape[0]
    options = dict(heads=heads, layers=layers, widths=(e - 1, 1), twice=True, predicts=True, outputs=outputs)
    module = IclLinearRegression(2, e - 1, **options, rngs=nnx.Rngs(0))
    names = dict(query="q_proj", key="k_proj", value="v_proj", out="o_proj")
    values = {
        f"blocks.{i}.{ours}.kernel": case[f"attention_layers.{i}.{theirs}.weight"].T
        for i in range(layers)
        for ours, theirs in names.items()
    }
    assign(module, values | {"last.kernel": case["final_linear.weight"].T})
    graph = edges(n_node, [(i, j) for j in range(n_node[0]) for i in range(j)])
    prediction = module(x, mask, graph, EVALUATION).prediction
    yield "output", prediction.reshape(*n_node.shape, -1, outputs)[:, -1:], case["output"]


def _told(name):
    """The numbers in an array's name."""
    words = name.replace("var", "_").replace("xi", "_").split("_")
    return [float(word) for word in words if word.strip("-").replace(".", "").isdigit()]


def estimators(case):
    x, y, query = case["X"].T, case["y"], case["xq"]
    omega, mu, noise = case["omega"], case["mu"], float(case["var"])
    about = dict(d=int(case["d"]), context=int(case["L"]), noise=noise)
    yield "multi_head", closed.multi_head(x, y, query, omega, mu), case["multi_head"]
    own = closed.single_head(*about.values())
    yield "single_head_omega", np.array([own[0]]), case["single_head_omega"]
    yield "single_head_mu", np.array([own[1]]), case["single_head_mu"]
    yield "single_head", closed.multi_head(x, y, query, *(np.array([v]) for v in own)), case["single_head"]
    step = 2 * omega[0] * mu[0]
    yield "gd", step * closed.gradient_step(x, y, query), case["gd"]
    yield "debiased_gd", step * closed.debiased_step(x, y, query), case["debiased_gd"]
    yield "ridge", closed.ridge(x, y, query, noise), case["ridge"]
    yield "approx_loss", np.float64(closed.approximate_loss(omega, mu, **about)), case["approx_loss"]
    for name in case:
        if name.startswith("mu_star_for_omega"):
            yield name, closed.best_mu(_told(name), **about), case[name]
        if name.startswith("ridge_asymptotic"):
            yield name, np.float64(closed.ridge_limit(*_told(name))), case[name]
    steps = EVERY * (len(case["flow_loss"]) - 1)
    flow = closed.gradient_flow(case["flow_omega"][0], case["flow_mu"][0], rate=STEP, steps=steps, **about)
    for part in ("mu", "omega", "loss"):
        yield f"flow_{part}", getattr(flow, part)[::EVERY], case[f"flow_{part}"]


def monte_carlo(case):
    d, context, noise = int(case["d"]), int(case["L"]), float(case["var"])
    drawn = draw(stars=DRAWS * int(case["N"]), context=context, dim=d, noise=noise)
    x, y, query, asked = drawn.x[:, :-1], drawn.y[:, :-1], drawn.x[:, -1], drawn.y[:, -1]
    omega, mu = 0.13, 3.45
    told = [
        closed.multi_head(x, y, query, [omega, -omega], [mu, -mu]),
        closed.multi_head(x, y, query, *([v] for v in closed.single_head(d, context, noise))),
        2 * omega * mu * closed.gradient_step(x, y, query),
        2 * omega * mu * closed.debiased_step(x, y, query),
        closed.ridge(x, y, query, noise),
    ]
    losses = np.array([((t - asked) ** 2).mean() for t in told])
    yield "losses", losses, case["loss_multi_single_gd_debiased_ridge"]
