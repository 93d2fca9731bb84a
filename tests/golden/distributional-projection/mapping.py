"""Co-occurrence in a corpus, a row a token with one symbol; its projection to one sequence; products of its factors."""

import numpy as np

from fusion_jax.nn import projection as host


def pairs(lengths, window):
    """Rows (left, right) of one sequence at most `window` apart, and 1 / distance."""
    ends = np.cumsum(lengths)
    found = [
        (i, j)
        for start, end in zip(ends - lengths, ends, strict=True)
        for i in range(start, end)
        for j in range(i + 1, min(i + window + 1, end))
    ]
    left, right = np.array(found).T
    return left, right, 1 / (right - left)


def projection(case):
    size, rank, ids = len(case["S"]), int(case["rank"]), case["ids"]
    corpus = case["corpus"][:, None]
    directed = host.ordered_counts(corpus, size, *pairs(case["corpus_lengths"], int(case["window"])))
    counts = directed + directed.T
    yield "directed counts", directed, case["directed_counts"]
    yield "counts", counts, case["S_counts"]
    s, d = np.log1p(counts), np.log1p(directed)
    yield "S", s, case["S"]
    yield "Q", host.one_hot(ids[:, None], size).toarray(), case["Q"]
    m, e = host.projection(s, ids)
    yield "M", m, case["M"]
    yield "E", e, case["E"]
    g, sign = host.symmetric_factors(s, rank)
    yield "signs", sign, case["sym_sign"]
    yield "G G^T", g @ g.T, case["sym_factor"] @ case["sym_factor"].T
    low = g * sign @ g.T
    yield "S of low rank", low, case["S_lowrank"]
    yield "M of low rank", host.projection(low, ids)[0], case["M_lowrank"]
    w_q, w_k = host.directed_factors(d, rank)
    yield "W_q W_k^T", w_q @ w_k.T, case["Wq"] @ case["Wk"].T
    for name, ours in (("Wq", w_q), ("Wk", w_k)):
        yield f"{name} of itself", ours @ ours.T, case[name] @ case[name].T
    scores, weights, out = host.attention(w_q, w_k, ids, s[ids])
    yield "scores", scores, case["asym_scores"]
    yield "attention", weights, case["attention"]
    yield "out", out, case["out"]
