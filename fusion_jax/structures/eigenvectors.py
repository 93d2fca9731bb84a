"""The first eigenvectors of the graph Laplacian, the Fourier modes of a graph, in a basis that is fixed by a rule.

On a path these are the modes of the cosine transform (DCT-II), on a grid their products. Where an eigenvalue occurs
once the rule fixes the sign; where it occurs more often, as in graphs with symmetries or with several components, it
fixes the basis too, so that it does not depend on the solver, except where several nodes have an equal claim: there the
lowest id decides.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components, laplacian
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

from fusion_jax.arrays import refuse
from fusion_jax.graphs import Array
from fusion_jax.structures.base import Edges, Maker

DENSE = 2000  # nodes of a component up to which all of its eigenvectors are computed
SAME = 1e-8  # eigenvalues nearer than this share of the largest one possible are one
TIE = 1e-6  # moduli nearer than this share of the largest are equal
RESTARTS = 30  # of Lanczos without a factorisation: enough where the spectrum has gaps, as in random graphs


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Spectrum:
    """Eigenvectors of every graph of the batch, by ascending eigenvalue; the first belongs to 0.

    Attributes:
        vectors: float [N, k], each of unit norm over the nodes of a graph; 0 at absent rows and beyond the graph's
            number of nodes.
        values: float [G, k], the eigenvalues; 0 beyond the number of nodes.
        valid: bool [G, k], false beyond the number of nodes.
        multiplicity: int32 [G, k], the dimension of the eigenspace; 0 where not valid.
        cut: bool [G], whether the last eigenspace has more dimensions than columns here.
    """

    vectors: Array
    values: Array
    valid: Array
    multiplicity: Array
    cut: Array

    def permuted(self, order: Array) -> Spectrum:
        return dataclasses.replace(self, vectors=self.vectors[order])

    def report(self) -> dict[str, float]:
        return dict(
            largest=float(np.max(self.values, initial=0)),
            multiplicity=int(np.max(self.multiplicity, initial=0)),
            repeated=int((np.asarray(self.multiplicity) > 1).sum()),
            cut=int(np.sum(self.cut)),
        )


class Eigenvectors(Maker):
    """L v = lambda v with L = D - A, or I - D^-1/2 A D^-1/2 (a node without edges has 0 there), lambda ascending.

    The basis of an eigenspace: v_1 is the projection of the unit vector of that node onto it whose projection is
    longest, divided by its length; v_2 the same in the rest of the space, and so on. So the entry of largest modulus
    of every vector is positive, and of equals the one with the lowest id.

    Args:
        k: the number of vectors.
        normalised: the second L.
        weighted: A has the weights of the edges.
    Raises:
        ValueError: k that is no integer >= 1.
    """

    lasts = False

    def __init__(self, *, k: int = 16, normalised: bool = False, weighted: bool = False):
        if type(k) is not int or k < 1:
            refuse("structure 'eigenvectors'", f"k={k!r}", "an integer >= 1")
        self.k, self.normalised, self.weighted = k, normalised, weighted

    def make(self, edge_sets, used=(), earlier=None) -> list[Spectrum]:
        return [self.one(edges) for edges in edge_sets]

    def one(self, edges: Edges) -> Spectrum:
        graphs, adjacency = edges.num_graphs, edges.adjacency(self.weighted)
        vectors, values = np.zeros((edges.num_nodes, self.k)), np.zeros((graphs, self.k))
        multiplicity, cut = np.zeros((graphs, self.k), np.int32), np.zeros(graphs, bool)
        for g, ids in enumerate(edges.rows):
            w, v, times = spectrum(adjacency[ids][:, ids], self.k, self.normalised)
            vectors[ids, : len(w)], values[g, : len(w)], multiplicity[g, : len(w)] = v, w, times
            cut[g] = len(w) > 0 and times[-1] > (w == w[-1]).sum()
        valid = multiplicity > 0
        return Spectrum(*map(jnp.asarray, (vectors, values, valid, multiplicity, cut)))


def spectrum(adjacency: sp.csr_array, k: int, normalised: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first min(k, n) eigenvalues, their vectors [n, .], and the dimension of the eigenspace of each.

    Each component by itself: Lanczos finds one vector of an eigenspace and leaves the others to rounding. The rule of
    the basis goes together with that, since a projection onto an eigenspace never leaves the node's component.

    Args:
        adjacency: float64 [n, n], symmetric, without loops.
    """
    n = adjacency.shape[0]
    matrix = sp.csr_array(laplacian(adjacency, normed=normalised))
    near = SAME * 2 * matrix.diagonal().max(initial=0)  # no eigenvalue is larger than twice the diagonal
    values, chosen = [], []
    for ids in _components(matrix):
        w, v = _lowest(matrix[ids][:, ids], min(k, len(ids)), near)
        for begin, end in _runs(w, near):
            if begin >= k:
                break
            values += [w[begin:end].mean()] * (end - begin)
            for length, node, vector in _basis(v[:, begin:end], min(end, k) - begin):
                chosen.append((values[-1], length, ids[node], ids, vector))
    values = np.sort(values)
    runs = _runs(values, near)
    of_run = np.searchsorted(values[[begin for begin, _ in runs]], [c[0] for c in chosen], side="right") - 1
    first = sorted(range(len(chosen)), key=lambda i: (of_run[i], -round(chosen[i][1] / TIE), chosen[i][2]))[:k]
    vectors = np.zeros((n, len(first)))
    for column, i in enumerate(first):
        vectors[chosen[i][3], column] = chosen[i][4]
    held = [runs[of_run[i]] for i in first]
    mean = np.array([values[begin:end].mean() for begin, end in held])
    return np.maximum(mean, 0), vectors, np.array([end - begin for begin, end in held], int)


def _basis(space: np.ndarray, count: int) -> list[tuple[float, int, np.ndarray]]:
    """The first vectors of the rule of `Eigenvectors` in the space that the columns of [n, m] span: the length of the
    projection, the node, the vector [n]."""
    rest, made = space.copy(), []
    for _ in range(count):
        length = np.linalg.norm(rest, axis=1)
        node = int(np.argmax(length >= (1 - TIE) * length.max()))
        direction = rest[node] / length[node]
        made.append((length[node], node, space @ direction))
        rest -= np.outer(rest @ direction, direction)
    return made


def _runs(values: np.ndarray, near: float) -> list[tuple[int, int]]:
    """Where runs of equal values begin and end, of ascending values."""
    ends = np.append(np.flatnonzero(np.diff(values) > near) + 1, len(values))
    return [(int(a), int(b)) for a, b in zip(np.append(0, ends), ends, strict=False) if b > a]


def _components(matrix: sp.csr_array) -> list[np.ndarray]:
    """The ids of the nodes of each connected component, ascending."""
    count, label = connected_components(matrix, directed=False)
    by_label = np.argsort(label, kind="stable")
    return np.split(by_label, np.cumsum(np.bincount(label, minlength=count))[:-1]) if count else []


def _lowest(matrix: sp.csr_array, count: int, near: float) -> tuple[np.ndarray, np.ndarray]:
    """At least `count` eigenpairs of a component by ascending value, the eigenspace of the last of these whole."""
    n = matrix.shape[0]
    if n <= max(DENSE, 2 * count):
        return np.linalg.eigh(matrix.toarray())
    start, more = np.random.default_rng(0).standard_normal(n), count + 1
    how = dict(which="SA", maxiter=RESTARTS)
    while True:
        try:
            w, v = eigsh(matrix.tocsc(), more, v0=start, **how)
        except ArpackNoConvergence:  # no gaps, as on grids: there a factorisation is cheap
            how = dict(which="LM", sigma=-1e-3 * matrix.diagonal().mean())
            continue
        order = np.argsort(w)
        w, v = w[order], v[:, order]
        if w[-1] - w[count - 1] > near or more == n - 1:
            return w, v
        more = min(2 * more, n - 1)
