"""Similarity network fusion against snfpy 0.2.2: affinities, the strongest of each row, the fused network."""

import numpy as np
from scipy.spatial.distance import cdist

from fusion_jax.data import snf
from fusion_jax.data.graphs import standardise


def network(case):
    k, mu, steps = int(case["option/k"]), float(case["option/mu"]), int(case["option/steps"])
    views = [case[f"in/x{i}"] for i in range(sum(name.startswith("in/x") for name in case))]
    affinities = []
    for i, x in enumerate(views):
        z = standardise(x) * np.sqrt((len(x) - 1) / len(x))  # the reference divides by the deviation with N - 1
        distance = cdist(z, z)
        mean = snf.mean_nearest(distance, k)
        affinities.append(snf.affinity(distance, mean + mean.T, mu=mu))
        yield f"affinity {i}", affinities[-1], case[f"out/affinity{i}"]
    fused = snf.fuse(affinities, k, steps=steps)
    for i, near in enumerate(fused.near):
        yield f"near {i}", near, case[f"out/near{i}"]
    yield "network", fused.network, case["out/network"]
