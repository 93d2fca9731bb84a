"""Random-feature attention: scores, features, outputs, and the values that a ridge regression gives.

From independent NumPy on the formula as it is remembered, not from the authors.
"""

import jax
import numpy as np
from flax import nnx

from fusion_jax.fusion.random_feature_attention import RandomFeatureAttention, combined
from fusion_jax.schemes.random_feature_attention import solved
from tests.helpers import assign


def compare(case):
    query, keys, products, values = (case[name] for name in ("x0", "X", "W", "V"))
    heads, dim = len(products), query.shape[-1]
    module = RandomFeatureAttention(keys.shape[1], dim, outputs=1, heads=heads, rngs=nnx.Rngs(0))
    assign(module, {"W": products, "V_prediction": values[..., None]}, partial=True)
    there = np.ones(keys.shape[1], bool)
    scores = jax.vmap(module.scores)(query, keys)
    yield "scores", scores, case["scores"]
    phi, weights = jax.vmap(module.features, (0, 0, None))(query, keys, there)
    yield "weights", weights, np.maximum(case["scores"], 0) / keys.shape[1]
    yield "features", phi, case["features"]
    yield "out", combined(phi, module.V_prediction[...])[:, 0], case["out"]
    flat = np.asarray(phi).reshape(len(phi), -1)
    solution = solved(flat, case["y"][:, None], float(case["ridge_lambda"])).reshape(heads, -1, 1)
    yield "V_ridge", solution[..., 0], case["V_ridge"]
    yield "out_ridge", combined(phi, solution)[:, 0], case["out_ridge"]


centred = biased = compare
