"""CLEANN's steps on one attention matrix: covariance, correlations, p-values, the graph, what may explain a token."""

import itertools

import numpy as np

from fusion_jax.analysis.causal_attention.discovery import discover
from fusion_jax.analysis.causal_attention.independence import correlation, covariance, p_value
from fusion_jax.analysis.causal_attention.pag import separation_tree


def discovery(case):
    samples, n = int(case["num_samples"]), len(case["attention"])
    cov = covariance(case["attention"])
    yield "cov", cov, case["cov"]
    r = correlation(cov)
    yield "corr", r, case["corr"]

    def p(i, j, *given):
        return p_value(r, int(i), int(j), tuple(int(z) for z in given), samples=samples)

    yield "p_marginal", np.array([[p(i, j) for j in range(n)] for i in range(n)]), case["p_marginal"]
    given_one = np.full((n, n, n), -1.0)
    for i, j, z in itertools.permutations(range(n), 3):
        given_one[i, j, z] = p(i, j, z)
    yield "p_given_one", given_one, case["p_given_one"]
    yield "p_01_given", np.asarray(p(0, 1, *case["p_01_given"])), case["p_01_given_value"]
    nodes = sorted(int(node) for node in case["nodes"])
    graph = discover(r[np.ix_(nodes, nodes)], samples=samples, alpha=float(case["alpha"]))
    yield "pag_marks", graph.array(), case["pag_marks"]
    members = separation_tree(graph, nodes.index(int(case["target"])))[1]
    yield "pds_set_of_target", np.array([nodes[m] for m in members], int), case["pds_set_of_target"]
