"""The nearest neighbours against a search by hand; attention as a table, over edges and by hand; parts merged."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from fusion_jax.graphs import Graph
from fusion_jax.nn.neighborhood import merge, nearest, neighbor_edge_attend, table_attend
from tests.nn.reference import close, derivatives, normal, random_only_with_a_key

N, H = 7, 2
RNG = np.random.default_rng(0)
S, R = RNG.integers(N, size=24), RNG.integers(1, N, size=24)  # nobody sends to 0
WEIGHT = np.round(RNG.random(24), 1)  # with ties
GRAPHS = {w: Graph.create(S, R, N, {"weight": WEIGHT} if w else {}) for w in (False, True)}
PRESENT = np.array([1, 1, 0, 1, 0, 1, 1], bool)
Q, K, V = (normal(N, H, d, seed=d) for d in (3, 3, 4))
K = K + 0.5
FORMS = (table_attend, neighbor_edge_attend)


def expected(g, k, dilation=1, present=None):
    """Edge ids each node sees, in order."""
    s, r, rows = np.asarray(g.senders), np.asarray(g.receivers), []
    for i in range(g.num_nodes):
        ids = [e for e in np.flatnonzero(r == i) if present is None or present[s[e]]]
        weight = np.asarray(g.edges.get("weight", np.zeros(len(s))))
        ids.sort(key=lambda e: (s[e] != i, -weight[e], s[e], e))
        rows.append(ids[: k * dilation : dilation])
    return rows


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("looped", [False, True])
@pytest.mark.parametrize(("k", "dilation"), [(1, 1), (3, 1), (2, 2), (30, 1), (2, 3)])
@pytest.mark.parametrize("present", [None, PRESENT])
def test_nearest_first(weighted, looped, k, dilation, present):
    g = GRAPHS[weighted].looped if looped else GRAPHS[weighted]
    found = nearest(g, k, dilation, None if present is None else jnp.asarray(present))
    rows, table = expected(g, k, dilation, present), np.asarray(found.table)
    assert table.shape == (N, k) and found.table.dtype == jnp.int32
    for i in range(N):
        assert table[i, : len(rows[i])].tolist() == rows[i] and (table[i, len(rows[i]) :] >= g.num_edges).all()
    assert np.flatnonzero(found.kept).tolist() == sorted(e for row in rows for e in row)
    assert len(np.unique(table)) == table.size, "the gather counts on it"


def by_hand(g, rows, present=None, scale=3**-0.5):
    out, lse, s = np.zeros((N, H, 4)), np.full((N, H), -np.inf), np.asarray(g.senders)
    for i, h in itertools.product(range(N), range(H)):
        seen = [s[e] for e in rows[i] if present is None or present[s[e]]]
        if seen:
            logits = np.asarray(K)[seen, h] @ np.asarray(Q)[i, h] * scale
            out[i, h], lse[i, h] = softmax(logits) @ np.asarray(V)[seen, h], logsumexp(logits)
    return out, lse


@pytest.mark.parametrize("attend", FORMS)
@pytest.mark.parametrize("present", [None, PRESENT])
@pytest.mark.parametrize("scale", [None, 0.2])
def test_both_forms_by_hand(attend, present, scale):
    g = GRAPHS[True]
    there = None if present is None else jnp.asarray(present)
    k, v = (a if there is None else jnp.where(there[:, None, None], a, jnp.nan) for a in (K, V))
    found = attend(Q, k, v, g, nearest(g, 3), there, scale=scale)
    for a, b in zip(found, by_hand(g, expected(g, 3), present, scale or 3**-0.5), strict=True):
        close(a, b)


@pytest.mark.parametrize("attend", FORMS)
def test_logits_of_any_size_and_dropout_and_derivatives(attend):
    g = GRAPHS[True]
    near = nearest(g, 3)
    out, lse = attend(400 * Q, 10 * K, V, g, near)
    heard = np.bincount(np.asarray(g.receivers), minlength=N) > 0
    assert np.isfinite(out).all() and np.isfinite(lse[heard]).all() and (lse[~heard] == -np.inf).all()
    random_only_with_a_key(lambda key: attend(Q, K, V, g, near, rate=0.3, key=key)[0], unbiased=True)
    close(attend(Q, K, V, g, near, rate=0.3, key=jax.random.key(0))[1], attend(Q, K, V, g, near)[1])
    close(attend(Q, K, V, g, near, key=jax.random.key(0))[0], attend(Q, K, V, g, near)[0])
    derivatives(lambda q, k, v: attend(q, k, v, g, near, jnp.asarray(PRESENT))[0], Q, K, V)
    derivatives(lambda q, k: jnp.where(heard[:, None], attend(q, k, V, g, near)[1], 0), Q, K)


def test_parts_over_disjoint_keys_are_merged_to_the_whole():
    g = GRAPHS[False]
    whole, s = expected(g, 30), np.asarray(g.senders)
    parts = [by_hand(g, [[e for e in row if s[e] % 3 == i] for row in whole]) for i in range(3)]
    given = [tuple(map(jnp.asarray, part)) for part in parts]
    for found, direct in zip(merge(given), by_hand(g, whole), strict=True):
        close(found, direct)
    for found, direct in zip(merge(given[:1]), parts[0], strict=True):
        close(found, direct)
    far = [(jnp.ones(2), jnp.asarray(900.0)), (jnp.zeros(2), jnp.asarray(898.0))]
    close(merge(far)[0], np.full(2, 1 / (1 + np.exp(-2))))
    close(merge(far)[1], 900 + np.log1p(np.exp(-2)))
    derivatives(lambda a, b, x, y: merge([(a, x), (b, y)]), V[0, 0], V[1, 1], Q[0, 0, 0], Q[0, 0, 1])
