"""Eigenvectors of the Laplacian: known ones, and the rule that fixes the basis of a repeated eigenvalue."""

import numpy as np
import pytest

from fusion_jax.graphs import Graph
from fusion_jax.structures import eigenvectors
from tests.structures import cases


def path(n):
    return Graph.create(np.arange(n - 1), np.arange(1, n), n)


def grid(a, b):
    ids = np.arange(a * b).reshape(a, b)
    pairs = np.concatenate(
        [np.stack([ids[:-1], ids[1:]], -1).reshape(-1, 2), np.stack([ids[:, :-1], ids[:, 1:]], -1).reshape(-1, 2)]
    )
    return Graph.create(pairs[:, 0], pairs[:, 1], a * b)


def torus(a):
    ids = np.arange(a * a).reshape(a, a)
    return Graph.create(np.tile(ids.ravel(), 2), np.r_[np.roll(ids, 1, 0).ravel(), np.roll(ids, 1, 1).ravel()], a * a)


def cosines(n):
    """The orthonormal DCT-II atoms, [n, n], atom k in column k, with a positive first entry."""
    k, t = np.arange(n), np.arange(n)[:, None]
    return np.cos(np.pi * k * (t + 0.5) / n) * np.where(k == 0, np.sqrt(1 / n), np.sqrt(2 / n))


def laplacian(graph, normalised=False, weighted=False):
    a = cases.undirected(graph, weighted)
    degree = a.sum(1)
    if normalised:
        scale = np.where(degree > 0, 1 / np.sqrt(np.where(degree > 0, degree, 1)), 0)
        return np.diag((degree > 0).astype(float)) - scale[:, None] * a * scale
    return np.diag(degree) - a


def by_rule(space):
    """The basis of the span of `space` [n, m], by projections in full, without the solver's coordinates."""
    n, projection, made = len(space), space @ space.T, []
    for _ in range(space.shape[1]):
        length = np.sqrt(np.maximum(np.diag(projection), 0))
        node = np.flatnonzero(length >= length.max() * (1 - 1e-6))[0]
        made.append(projection @ np.eye(n)[node] / length[node])
        projection = projection - np.outer(made[-1], made[-1])
    return np.stack(made, 1)


def expected(graph, g, k, **options):
    """The first k eigenpairs of graph g by the definition, eigenspaces whole: values, vectors, dimensions."""
    ids = np.flatnonzero((cases.graph_ids(graph) == g) & cases.present(graph))
    w, v = np.linalg.eigh(laplacian(graph, **options)[np.ix_(ids, ids)])
    values, vectors, times = [], np.zeros((len(w), 0)), []
    while len(values) < len(w):
        same = np.abs(w - w[len(values)]) < 1e-7
        values += [w[same].mean()] * same.sum()
        times += [same.sum()] * same.sum()
        vectors = np.concatenate([vectors, by_rule(v[:, same])], 1)
    return ids, np.array(values)[:k], vectors[:, :k], np.array(times, int)[:k]


def test_on_a_path_they_are_the_modes_of_the_cosine_transform():
    found = cases.made(path(12), "eigenvectors", k=12)
    atoms = cosines(12)
    largest = np.argmax(np.abs(atoms) >= np.abs(atoms).max(0) * (1 - 1e-6), axis=0)
    np.testing.assert_allclose(found.vectors, atoms * np.sign(atoms[largest, np.arange(12)]), atol=1e-12)
    np.testing.assert_allclose(found.values[0], 2 - 2 * np.cos(np.pi * np.arange(12) / 12), atol=1e-12)
    assert found.valid.all() and (found.multiplicity == 1).all() and not found.cut.any()


@pytest.mark.parametrize("k", [1, 3, 6, 20])
@pytest.mark.parametrize("absent", [0, 4])
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_each_graph_by_the_definition(weighted, normalised, absent, k):
    """Disconnected graphs with isolated nodes: 0 is repeated, k cuts through its eigenspace or exceeds the nodes."""
    graph = cases.batch(absent=absent)
    found = cases.made(graph, "eigenvectors", k=k, normalised=normalised, weighted=weighted)
    assert found.vectors.shape == (graph.num_nodes, k) and found.values.shape == (graph.num_graphs, k)
    rest = found.vectors.copy()
    for g in range(graph.num_graphs):
        ids, values, vectors, times = expected(graph, g, k, normalised=normalised, weighted=weighted)
        count = len(values)
        np.testing.assert_allclose(found.values[g, :count], values, atol=1e-10)
        np.testing.assert_allclose(found.vectors[ids, :count], vectors, atol=1e-8)
        np.testing.assert_array_equal(found.multiplicity[g, :count], times)
        np.testing.assert_array_equal(found.valid[g], np.arange(k) < len(ids))
        assert (found.values[g, count:] == 0).all() and (found.values >= 0).all()
        assert found.cut[g] == (count > 0 and times[-1] > (np.abs(values - values[-1]) < 1e-9).sum())
        rest[ids, :count] = 0
    assert (rest == 0).all()


@pytest.mark.parametrize("k", [3, 7])
def test_in_a_repeated_eigenvalue_of_one_component_the_rule_fixes_the_basis(k):
    star = Graph.create(np.zeros(6, int), np.arange(1, 7), 7)
    for graph in (star, grid(3, 3)):
        found = cases.made(graph, "eigenvectors", k=k)
        _, values, vectors, times = expected(graph, 0, k)
        assert times.max() > 1
        np.testing.assert_allclose(found.vectors, vectors, atol=1e-8)
        np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(k), atol=1e-12)
        np.testing.assert_allclose(laplacian(graph) @ found.vectors, found.vectors * values, atol=1e-10)


def test_a_permutation_moves_the_rows_where_no_two_nodes_are_alike():
    rng = np.random.default_rng(0)
    graph = Graph.create(rng.integers(0, 15, 40), rng.integers(0, 15, 40), 15, {"weight": rng.random(40) + 0.1})
    order = rng.permutation(15)
    place = np.argsort(order)
    other = Graph.create(
        place[np.asarray(graph.senders)],
        place[np.asarray(graph.receivers)],
        15,
        {"weight": np.asarray(graph.edges["weight"])},
    )
    moved = cases.made(graph, "eigenvectors", k=15, weighted=True).permuted(order)
    anew = cases.made(other, "eigenvectors", k=15, weighted=True)
    np.testing.assert_allclose(moved.vectors, anew.vectors, atol=1e-8)
    np.testing.assert_allclose(moved.values, anew.values, atol=1e-10)


@pytest.mark.parametrize("restarts", [1, 1000])
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("graph, k, times", [(grid(9, 9), 5, 2), (torus(6), 2, 4)], ids=["grid", "torus"])
def test_lanczos_finds_what_the_dense_solver_finds(monkeypatch, graph, k, times, normalised, restarts):
    """k in the middle of an eigenspace, further from its end than Lanczos looks at first on the torus."""
    dense = cases.made(graph, "eigenvectors", k=k, normalised=normalised)
    monkeypatch.setattr(eigenvectors, "DENSE", 20)
    monkeypatch.setattr(eigenvectors, "RESTARTS", restarts)
    lanczos = cases.made(graph, "eigenvectors", k=k, normalised=normalised)
    np.testing.assert_allclose(lanczos.vectors, dense.vectors, atol=1e-7)
    np.testing.assert_allclose(lanczos.values, dense.values, atol=1e-10)
    np.testing.assert_array_equal(lanczos.multiplicity, dense.multiplicity)
    assert dense.cut[0] and lanczos.cut[0] and dense.multiplicity[0, -1] == times


def test_a_report_tells_of_repeated_values_and_of_a_cut_eigenspace():
    """A square: 0, 2, 2, 4."""
    square = Graph.create(np.arange(4), np.r_[1:4, 0], 4)
    reports = {k: cases.made(square, "eigenvectors", k=k).report() for k in (1, 2, 3, 4)}
    assert [r["cut"] for r in reports.values()] == [0, 1, 0, 0]
    assert [r["multiplicity"] for r in reports.values()] == [1, 2, 2, 2]
    assert [r["repeated"] for r in reports.values()] == [0, 1, 2, 2]
    assert reports[4]["largest"] == pytest.approx(4)
