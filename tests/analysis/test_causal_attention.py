"""Attention as a causal graph: the tests, the search, every rule on a graph made for it, and what a cell says."""

import dataclasses
import functools
import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fusion_jax.analysis import analyse
from fusion_jax.analysis.base import among_modalities
from fusion_jax.analysis.causal_attention import CHECKED_WITH, causal_attention, orientation, received
from fusion_jax.analysis.causal_attention.discovery import discover, search
from fusion_jax.analysis.causal_attention.explanation import explanations, proposals
from fusion_jax.analysis.causal_attention.independence import correlation, covariance, p_value, partial_correlation
from fusion_jax.analysis.causal_attention.masking import flips
from fusion_jax.analysis.causal_attention.pag import ARROW, CIRCLE, PAG, TAIL, separation_tree
from fusion_jax.analysis.causal_attention.tables import Found, explained
from fusion_jax.analysis.causal_attention.tables import report as told_of
from fusion_jax.results.restore import restore
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run

N, S = 5, 64
ENDS = {"o": CIRCLE, "-": TAIL, "<": ARROW, ">": ARROW}


def attention(seed=0, n=N, sharpness=1.5):
    a = np.exp(sharpness * np.random.default_rng(seed).normal(size=(n, n)))
    return a / a.sum(1, keepdims=True)


def correlations(a):
    return correlation(covariance(a))


def pag(n, *edges):
    """Edges as "0o>1": the mark at the first, the mark at the second."""
    graph = PAG(n)
    graph.marks = [[0] * n for _ in range(n)]
    for a, at_a, at_b, b in edges:
        graph.mark(int(b), int(a), ENDS[at_a])
        graph.mark(int(a), int(b), ENDS[at_b])
    return graph


# tests of independence


def test_correlations_are_of_rows_with_a_unit_diagonal_and_within_0_and_1():
    a = attention()
    r = correlations(a)
    np.testing.assert_allclose(np.diag(r), 1)
    np.testing.assert_allclose(r, r.T)
    assert (r >= 0).all() and (r <= 1 + 1e-12).all()
    unit = a / np.linalg.norm(a, axis=1, keepdims=True)
    np.testing.assert_allclose(r, unit @ unit.T)
    assert not np.allclose(r, correlations(a.T)), "columns are no variables"


def test_permuted_tokens_permute_correlations_and_p_values():
    order, r = np.random.default_rng(1).permutation(N), correlations(attention())
    moved = correlations(attention()[np.ix_(order, order)])
    np.testing.assert_allclose(moved, r[np.ix_(order, order)], rtol=1e-12)
    for i, j, z, y in itertools.permutations(range(N), 4):
        there = order[[i, j, z, y]]
        for given in (0, 1, 2):
            ours = p_value(moved, i, j, (z, y)[:given], samples=S)
            assert ours == pytest.approx(
                p_value(r, *there[:2], tuple(there[2:][:given]), samples=S), rel=1e-6, abs=1e-12
            )


@pytest.mark.parametrize("given", [(2,), (2, 4), (2, 3, 4)])
def test_a_partial_correlation_is_that_of_what_regression_leaves(given):
    r = correlations(attention())
    root = np.linalg.cholesky(r)  # rows are variables with these products
    left = [root[i] - np.linalg.lstsq(root[list(given)].T, root[i])[0] @ root[list(given)] for i in (0, 1)]
    expected = left[0] @ left[1] / np.linalg.norm(left[0]) / np.linalg.norm(left[1])
    assert partial_correlation(r, 0, 1, given) == pytest.approx(expected)
    z = np.arctanh(expected) * np.sqrt(S - len(given) - 3)
    assert p_value(r, 0, 1, given, samples=S) == pytest.approx(2 * stats.norm.sf(abs(z)), abs=1e-14)


def test_without_a_degree_of_freedom_there_is_no_test():
    r = correlations(attention())
    assert p_value(r, 0, 1, (2,), samples=5) < 1
    with pytest.raises(ValueError, match="samples=4 leave no degree of freedom given 1 tokens; expected at least 5"):
        p_value(r, 0, 1, (2,), samples=4)


def test_a_masked_row_is_refused():
    a = attention()
    a[2] = 0
    with pytest.raises(ValueError, match=r"row 2 of the attention has the variance 0.0e\+00"):
        correlations(a)


@pytest.mark.parametrize("n", [3, 4, 7])
def test_uniform_attention_is_dependent_up_to_one_and_singular_from_two_on(n):
    r = correlations(np.full((n, n), 1 / n))
    np.testing.assert_allclose(r, 1)
    for i, j, z in itertools.permutations(range(n), 3):
        assert p_value(r, i, j, samples=S) == p_value(r, i, j, (z,), samples=S) == 0
    if n > 3:
        with pytest.raises(np.linalg.LinAlgError, match="singular"):
            p_value(r, 0, 1, (2, 3), samples=S)


def test_nearly_equal_rows_are_singular_not_made_up():
    a = attention()
    a[3] = a[2] + 1e-9 * np.eye(N)[0]
    with pytest.raises(np.linalg.LinAlgError, match=r"rows \[0, 1, 2, 3\] are not independent"):
        p_value(correlations(a), 0, 1, (2, 3), samples=S)


# the search


def test_the_identity_has_no_edge_and_the_limits_of_alpha_none_or_all():
    assert not discover(np.eye(N), samples=S, alpha=0.01).array().any()
    r = correlations(attention())
    everything = discover(r, samples=S, alpha=1).array()
    assert (everything == CIRCLE * (1 - np.eye(N))).all() and not discover(r, samples=S, alpha=-1e-9).array().any()


def test_more_samples_see_more():
    r = correlations(attention())
    few, many = (discover(r, samples=s, alpha=0.05).array() for s in (12, 4000))
    assert (few > 0).sum() < (many > 0).sum()


def test_a_permuted_matrix_has_the_permuted_graph():
    order, a = np.random.default_rng(3).permutation(N), attention(2)
    plain = discover(correlations(a), samples=S, alpha=0.05).array()
    moved = discover(correlations(a[np.ix_(order, order)]), samples=S, alpha=0.05).array()
    assert plain.any() and (moved == plain[np.ix_(order, order)]).all()


def separated(parents):
    """A test that knows the truth: d-separation in the graph {child: parents} by paths in the moral ancestors."""

    def ancestors(nodes):
        todo, seen = list(nodes), set(nodes)
        while todo:
            new = set(parents.get(todo.pop(), ())) - seen
            seen |= new
            todo += new
        return seen

    def independent(i, j, given):
        among, near = ancestors({i, j, *given}), {}
        for child in among:
            for a, b in itertools.permutations({child, *parents.get(child, ())}, 2):
                near.setdefault(a, set()).add(b)
        todo, seen = [i], {i}
        while todo:
            new = near.get(todo.pop(), set()) - seen - set(given)
            seen |= new
            todo += new
        return j not in seen

    return independent


@pytest.mark.parametrize(
    "n,parents,edges",
    [
        (3, {1: (0,), 2: (1,)}, ["0oo1", "1oo2"]),
        (3, {1: (0, 2)}, ["0o>1", "2o>1"]),
        (4, {1: (0, 2), 3: (1,)}, ["0o>1", "2o>1", "1->3"]),
        (4, {1: (0, 4), 2: (3, 4)}, ["0o>1", "3o>2", "1<>2"]),  # 4 is not seen
        (4, {2: (0, 1), 3: (0, 1)}, ["0o>2", "1o>2", "0o>3", "1o>3"]),
        (5, {1: (0,), 2: (0,), 3: (0,), 4: (1, 2, 3)}, ["0oo1", "0oo2", "0oo3", "1->4", "2->4", "3->4"]),
        (6, {1: (0, 3), 2: (0, 4), 5: (1, 2)}, ["0o>1", "3o>1", "0o>2", "4o>2", "1->5", "2->5"]),
        (6, {1: (5, 3), 2: (5, 4), 0: (1, 2)}, ["5o>1", "3o>1", "5o>2", "4o>2", "1->0", "2->0"]),
    ],
    ids=[
        "chain",
        "collider",
        "behind_a_collider",
        "latent",
        "two_colliders",
        "three_separate",
        "ancestors_of_the_second",
        "ancestors_of_the_first",
    ],
)
def test_with_a_perfect_test_the_graph_is_the_known_one(n, parents, edges):
    found = search(n, separated(parents)).array()
    assert (found == pag(n, *edges).array()).all(), found


def drawn_parents(rng, n, unseen):
    """{child: parents} of an acyclic graph of n variables that are seen, and of unseen ones that two have in common."""
    order, parents = rng.permutation(n), {v: [] for v in range(n)}
    for i, j in itertools.combinations(range(n), 2):
        if rng.random() < 0.3:
            parents[int(order[j])].append(int(order[i]))
    for u in range(n, n + unseen):
        for v in rng.choice(n, 2, replace=False):
            parents[int(v)].append(u)
    return parents


def causes(parents, v):
    found = set(parents.get(v, ()))
    return found.union(*(causes(parents, p) for p in found))


@pytest.mark.parametrize("seed", range(20))
def test_with_a_perfect_test_no_mark_is_wrong(seed):
    """An edge where nothing separates, a tail at causes alone and an arrow at none."""
    n, parents = 6, drawn_parents(np.random.default_rng(seed), 6, unseen=3)
    independent = separated(parents)
    graph = search(n, independent)
    for a, b in itertools.combinations(range(n), 2):
        rest = [z for z in range(n) if z not in (a, b)]
        sets = itertools.chain.from_iterable(itertools.combinations(rest, k) for k in range(n - 1))
        assert graph.joined(a, b) != any(independent(a, b, given) for given in sets)
    marks = [(a, b, graph.marks[a][b]) for a, b in itertools.permutations(range(n), 2)]
    assert all(b in causes(parents, a) for a, b, mark in marks if mark == TAIL)
    assert not any(b in causes(parents, a) for a, b, mark in marks if mark == ARROW)


def test_a_way_against_an_arrow_makes_no_cause():
    """2 and 1 have 7 in common and neither causes the other, though 2 -> 5 <-> 3 -> 1 and 2 o-o 4 -> 1."""
    parents = {0: (3, 4, 6, 8), 1: (3, 7, 9), 2: (4, 7), 3: (4, 6, 10), 5: (2, 6, 10), 6: (4, 8, 9)}  # 7 on: not seen
    graph = search(7, separated(parents))
    assert graph.parent(2, 5) and graph.edge(5, 3, ARROW, ARROW) and graph.parent(3, 1) and graph.parent(4, 1)
    assert graph.edge(2, 1, CIRCLE, ARROW), graph.array()


def test_what_is_seen_by_selection_has_tails():
    """A ring without any direction: both pairs of opposite variables are separated by the two others."""
    ring = {frozenset((k, (k + 1) % 4)) for k in range(4)}

    def independent(i, j, given):
        return frozenset((i, j)) not in ring and {0, 1, 2, 3} == {i, j, *given}

    assert (search(4, independent).array() == pag(4, "0--1", "1--2", "2--3", "0--3").array()).all()


@pytest.mark.parametrize(
    "rule,before,after",
    [
        ("away_from_collider", ["0o>1", "1oo2"], ["0o>1", "1->2"]),
        ("away_from_collider", ["0o>1", "1oo2", "0oo2"], None),
        ("away_from_cycle", ["0o>1", "1->2", "0oo2"], ["0o>1", "1->2", "0o>2"]),
        ("away_from_cycle", ["0->1", "1o>2", "0oo2"], ["0->1", "1o>2", "0o>2"]),
        ("away_from_cycle", ["0o>1", "1o>2", "0oo2"], None),
        ("double_triangle", ["0o>1", "2o>1", "0oo3", "2oo3", "3oo1"], ["0o>1", "2o>1", "0oo3", "2oo3", "3o>1"]),
        ("double_triangle", ["0o>1", "2o>1", "0oo3", "2oo3", "3oo1", "0oo2"], None),
        ("discriminating_path", ["0o>1", "1<>2", "1->3", "2oo3"], ["0o>1", "1<>2", "1->3", "2<>3"]),
        ("discriminating_path", ["0o>1", "1<>2", "1->3", "2oo3", "0oo3"], None),
        ("circle_path", ["0oo1", "1oo2", "2oo3", "0oo3"], ["0--1", "1--2", "2--3", "0--3"]),
        ("circle_path", ["0oo1", "1oo2", "2oo3", "0oo3", "0oo2"], None),
        ("behind_undirected", ["0--1", "1oo2"], ["0--1", "1-o2"]),
        ("behind_undirected", ["0-o1", "1oo2"], None),
        ("behind_tail", ["0-o1", "1oo2"], ["0-o1", "1-o2"]),
        ("behind_tail", ["0-o1", "1oo2", "0oo2"], None),
        ("transitive_tail", ["0->1", "1->2", "0o>2"], ["0->1", "1->2", "0->2"]),
        ("transitive_tail", ["0-o1", "1->2", "0o>2"], ["0-o1", "1->2", "0->2"]),
        ("transitive_tail", ["0o>1", "1->2", "0o>2"], None),
        ("uncovered_way", ["0o>3", "0oo1", "1oo2", "2o>3"], ["0->3", "0oo1", "1oo2", "2o>3"]),
        ("uncovered_way", ["0o>3", "0oo1", "1oo2", "2o>3", "1oo3"], None),
        ("two_ways", ["0o>3", "1->3", "2->3", "0oo1", "0oo2"], ["0->3", "1->3", "2->3", "0oo1", "0oo2"]),
        ("two_ways", ["0o>3", "1->3", "2->3", "0oo1", "0oo2", "1oo2"], None),
    ],
)
def test_a_rule_orients_what_it_says_and_nothing_else(rule, before, after):
    graph = pag(4, *before)
    assert getattr(orientation, rule)(graph) == (after is not None)
    assert (graph.array() == pag(4, *(before if after is None else after)).array()).all(), graph.array()


def test_both_of_two_ways_are_possibly_directed_and_may_pass_beside_what_they_tell_of():
    """0 o-> 4 with ways 0, 1, 2 to 2 -> 4 and 0, 3 to 3 -> 4; what stands between 1 and 4 has no say."""
    rest = ["0o>4", "0oo1", "0oo3", "2->4", "3->4"]
    for beside in ([], ["1o>4"]):
        for way, told in (("1oo2", True), ("1o>2", True), ("1<>2", False), ("1<o2", False)):
            graph = pag(5, *rest, way, *beside)
            assert orientation.two_ways(graph) == told == graph.parent(0, 4), (way, beside)
    covered = pag(5, *rest, "1oo2", "0oo2", "2oo3")
    assert not orientation.two_ways(covered)


def test_the_discriminated_one_that_separated_is_a_cause():
    graph = pag(4, "0o>1", "1<>2", "1->3", "2oo3")
    graph.separating[0, 3] = frozenset({1, 2})
    assert orientation.discriminating_path(graph) and graph.parent(2, 3)


def test_a_discriminating_path_may_be_longer():
    graph = pag(5, "0o>1", "1<>4", "4<>2", "1->3", "4->3", "2oo3")
    assert graph.discriminated(4, 2, 3) == 0 and graph.discriminated(1, 2, 3) == 0
    graph.mark_both(0, 1, CIRCLE)
    assert graph.discriminated(4, 2, 3) is None


# explanations


def test_an_explanation_is_the_smallest_set_around_the_target():
    graph, asked = pag(4, "0oo1", "1oo2", "2oo0", "3oo1"), []

    def accepts(s):
        asked.append(s)
        return set(s) >= {1, 2}

    assert explanations(graph, 0, accepts) == [(1, 2)]
    assert asked == [(1,), (2,), (1, 2)], "nothing larger is tried, nor what is only behind a non-collider"
    assert explanations(graph, 0, accepts, largest=1) == [] and explanations(graph, 3, lambda s: True) == [(1,)]


def test_the_nearest_of_a_size_comes_first_and_farther_ones_need_what_lies_between():
    graph = pag(4, "0o>1", "2o>1", "0oo3")
    tree, members = separation_tree(graph, 0)
    assert members == [1, 2, 3] and dict(tree.subsets(members, 1)) == {(1,): 1, (3,): 1}
    assert dict(tree.subsets(members, 2)) == {(1, 2): 3, (1, 3): 2}
    assert explanations(graph, 0, lambda s: len(s) == 2) == [(1, 3), (1, 2)]
    assert explanations(graph, 0, lambda s: 2 in s) == [(1, 2)]
    assert explanations(graph, 0, lambda s: 2 in s, depth=1) == []


def test_a_tail_at_the_second_says_that_the_first_is_no_parent_of_it():
    assert not pag(2, "0o-1").may_be_parent(0, 1) and pag(2, "0o-1").may_be_parent(1, 0)
    assert not pag(2, "0<o1").may_be_parent(0, 1) and pag(2, "0<o1").may_be_parent(1, 0)


def test_a_proposal_is_as_far_as_from_the_nearest_of_its_tokens():
    graph = pag(6, "0o>1", "2o>1", "3oo4", "4oo5", "5oo3")
    assert proposals(graph, 3) == [(0, 1, 2), (3, 4, 5)], "both are 2 from 1 and from any"


def test_a_graph_proposes_every_token_and_pairs_that_are_joined():
    graph = pag(4, "0oo1", "1oo2")
    assert proposals(graph, 1) == [(0,), (1,), (2,), (3,)] and proposals(graph, 2) == [(0, 1), (1, 2)]
    assert proposals(graph, 3) == [(0, 1, 2)] and proposals(pag(3), 2) == []


def found(*edges, tokens=(0, 1, 2)):
    return Found(np.array(tokens), np.eye(len(tokens)), pag(len(tokens), *edges))


def flipped(*flipping, own=(0, 1, 2)):
    sets = [s for size in range(1, len(own)) for s in itertools.combinations(own, size)]
    return {s: s in flipping for s in sets}


@pytest.mark.parametrize(
    "flipping,graphs,expected",
    [
        ((), [found("0oo1")], ((), (False,), None, None, False)),
        (((1,), (0, 1)), [found(), None], (((1,),), (True, False), 2, 2, False)),
        (((0, 2),), [found("0oo1"), found("0oo2")], (((0, 2),), (False, True), 5, 5, True)),
        (((1, 2),), [found("0oo1")], (((1, 2),), (False,), None, 6, False)),
        (((0, 2),), [found("0oo1", tokens=(0, 2))], (((0, 2),), (True,), 3, 5, True)),
    ],
    ids=["none", "one", "another_head", "not_proposed", "a_token_is_missing"],
)
def test_what_explains_a_node(flipping, graphs, expected):
    said = explained(np.array([0.5, 0.1, 0.4]), flipped(*flipping), graphs)
    numbers = (None if np.isnan(v) else v for v in (said.tried, said.exhaustive))
    assert (said.smallest, said.found, *numbers, said.ranked) == expected


def test_the_sentence_counts_nodes_and_says_when_the_graphs_save_nothing():
    some = [found("0oo1"), found("0oo2")]
    last = explained(np.array([0.5, 0.1, 0.4]), flipped((0, 2)), some)
    told = [last, explained(np.ones(3), flipped(), some), explained(np.ones(3), flipped((1, 2)), some)]
    facts = dict(attention="fusion 1", alpha=0.01, samples=64)

    def said(explanations):
        return told_of([some] * len(explanations), explanations, ["x", "g", "t"], ["-"] * len(explanations), facts)

    sentence, table = said(told).sentence, said(told).tables["explanations"]
    assert "changes the predicted class of 2 of the 3, the fewest that do are 2.0 on average" in sentence
    assert "propose a set as small for 1 of these 2, after 5.0 sets on average" in sentence
    assert sentence.endswith("going through all sets by size finds one after 5.0: the graphs save nothing.")
    assert table.exhaustive[0] == table.tried[0] == 5, "the node that no graph explains is in neither"
    better = last._replace(tried=3)
    assert said([better]).sentence.endswith(
        "after 3.0 sets on average, where going through all sets by size finds one after 5.0."
    )
    assert said(told[1:]).sentence.endswith("propose a set as small for 0 of these 1.")


# a cell


def test_attention_is_received_from_queries_that_are_there():
    """A modality that is missing still has a row of weights, of whatever stands in its place."""
    weights = np.stack([attention(seed) for seed in (4, 5)])
    there = np.array([True, False, True, True, False])
    weights[..., ~there] = 0
    other = weights.copy()
    other[:, ~there] = np.nan
    np.testing.assert_array_equal(received(weights, there), received(other, there))
    np.testing.assert_allclose(received(weights, there), np.mean([weights[h, q] for h in (0, 1) for q in (0, 2, 3)], 0))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    def cell(keys):
        return tiny_cell(seeds=1, **{key.replace(".", "__"): value for key, value in keys.items()})

    with as_users_run():
        yield train_cells(tmp_path_factory.mktemp("causal"), [cell(CHECKED_WITH), tiny_cell(seeds=1)])


@pytest.fixture(scope="module")
def cell(trained):
    return restore(trained[0], trained[1][0])


@pytest.fixture(scope="module")
def report(cell):
    return causal_attention(cell, 0, nodes=6, alpha=0.2)


def test_the_flips_are_those_of_masked_batches(cell):
    batch = cell.batch(0)
    mask = np.array(batch.mask)
    nodes = np.flatnonzero(mask.sum(1) > 1)[:2]
    whole = cell.prediction(0).argmax(1)
    for node, said in zip(nodes, flips(cell, 0, nodes), strict=True):
        own = np.flatnonzero(mask[node])
        assert set(said) == {s for k in range(1, len(own)) for s in itertools.combinations(own.tolist(), k)}
        s = max(said)
        gone = mask.copy()
        gone[node, list(s)] = False
        masked = dataclasses.replace(batch, mask=gone)
        other = cell.models[0](masked, context=cell.context(0))
        assert said[s] == (np.asarray(other.prediction)[node].argmax() != whole[node])


def test_graphs_are_of_one_head_of_the_last_layer_without_the_masked(cell, report):
    (shown,) = among_modalities(cell, 0, "a test")
    mask = np.asarray(cell.batch(0).mask)
    assert shown.weights.shape[1:] == (1, 2, 3, 3) and (shown.tokens == mask).all() and not mask.all()
    test = cell.prepared.splits[0].test
    able = test[(mask[test].sum(1) > 1) & (shown.tokens[test].sum(1) > 1)]
    nodes = np.sort(np.random.default_rng(0).permutation(able)[:6])
    make = functools.partial(discover, samples=cell.plan.model.dim, alpha=0.2)
    joined = {pair: [] for pair in itertools.combinations(range(3), 2)}
    for node in nodes:
        tokens = np.flatnonzero(shown.tokens[node])
        graph = make(correlations(shown.weights[node, 0, 1][np.ix_(tokens, tokens)]))
        for i, j in itertools.combinations(range(len(tokens)), 2):
            joined[tokens[i], tokens[j]].append(graph.joined(i, j))
    table = report.tables["edges"]
    expected = [np.mean(v) if v else np.nan for v in joined.values()]
    np.testing.assert_allclose(table[table["head"] == 1].joined, expected)
    assert report.facts["samples"] == cell.plan.model.dim and report.facts["nodes"] == len(nodes)


def test_it_is_the_last_layer_of_the_last_fusion(cell, report, monkeypatch):
    (shown,) = among_modalities(cell, 0, "a test")
    turned = shown.weights[:, :, ::-1]
    both = shown._replace(weights=np.concatenate([turned, shown.weights], 1))
    monkeypatch.setattr(
        "fusion_jax.analysis.causal_attention.among_modalities", lambda *asked: [shown._replace(weights=turned), both]
    )
    again = causal_attention(cell, 0, nodes=6, alpha=0.2)
    pd.testing.assert_frame_equal(again.tables["edges"], report.tables["edges"])
    assert report.tables["edges"].correlation.nunique() > 3, "heads differ"


def test_shares_of_marks_are_shares_and_agree_with_the_edges(report):
    marks, edges = report.tables["marks"], report.tables["edges"]
    shares = marks[marks.nodes > 0][["none", "circle", "arrow", "tail"]]
    np.testing.assert_allclose(shares.sum(1), 1)
    whole = marks.assign(edges=marks.nodes * (1 - marks.none.fillna(1)))
    for row in edges.itertuples():
        own = whole[(whole["head"] == row.head) & (whole["from"] == row.a) & (whole["to"] == row.b)]
        assert own.nodes.sum() == row.nodes
        assert row.nodes == 0 or own.edges.sum() == pytest.approx(row.nodes * row.joined)


def test_explanations_are_told_for_all_and_by_class(report):
    table = report.tables["explanations"]
    assert table["class"][0] == "all" and table.nodes[0] == table.nodes[1:].sum() == 6
    assert report.sentence.startswith("In the attention of 6 test nodes ")


@pytest.mark.parametrize(
    "options,message",
    [
        (dict(alpha=1.0), "alpha=1.0, expected a number between 0 and 1"),
        (dict(nodes=0), "nodes=0, expected at least 1"),
        (dict(seed=-1), "seed=-1, expected at least 0"),
        (dict(samples=4), "samples=4 .* leave no degree of freedom for 3 modalities; expected at least 5"),
    ],
)
def test_a_bad_option_is_named(cell, options, message):
    with pytest.raises(ValueError, match=f"causal_attention: {message}"):
        causal_attention(cell, 0, **options)


def test_a_fusion_without_attention_among_modalities_is_refused_by_name(trained):
    with pytest.raises(ValueError, match="fusion 'concat_mlp' of this cell shows none: none"):
        analyse(trained[0], "causal_attention", cell=trained[1][1])
