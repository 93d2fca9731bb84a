"""The published rules of OT-Fusion: neurons matched by optimal transport, maps sent through layers and joins.

Reference: Imfeld, Graldi, Giordano, Hofmann, Anagnostidis, Singh, "Transformer Fusion with Optimal Transport",
ICLR 2024; code graldij/transformer-fusion, commit 204ae23, `otfusion/otfusion_lib.py` and `hf_vit_fusion.py`.
Golden `ot-fusion`.

Index 0 is the model being aligned, 1 the anchor. A map T [n0, n1] takes features of model 0 to those of the
anchor, x T. Kernels are [in, out] as in Flax, the transpose of the paper's. Every rule returns what model 0
becomes in the anchor's coordinates; the merged model is the average of these and the anchor. The maps do not
depend on the weights of that average, so that aligning first and averaging once is the paper's layer-by-layer
fusion. (The reference hands its weight alpha from the encoder to no sub-layer, so that anything but 1/2 moves
embeddings, final norm and classifier only; here a weight means the same everywhere, which merging more than
two networks needs.)

All of it runs on the host in NumPy: matching is a linear program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp

from fusion_jax.zoo import nearest

Layer = Mapping[str, Any]  # {"kernel": [in, out], "bias": [out] or absent}
Pair = tuple[np.ndarray, np.ndarray]  # the same array of model 0 and of the anchor
CHOICES = dict(
    cost=("acts", "wts"),
    solver=("sinkhorn", "emd"),
    residual=("mean", "no_resid", "only_resid", "weighted_scalar", "weighted_matrix"),
    qk=("separate", "eq_t_map", "joint"),
    heads=("reference", "blocks"),
)
REG = dict(acts=0.08, wts=0.06)
SMALL_REG = 0.05  # below it exp(-C / reg) of POT's plain iteration underflows: log space


def standardise(acts: np.ndarray) -> np.ndarray:
    """(a - mean) / (std + 1e-9) of every neuron, acts [S, n], std with S - 1."""
    acts = np.asarray(acts, np.float64)
    std = acts.std(0, ddof=1) if len(acts) > 1 else np.zeros(acts.shape[1])
    return (acts - acts.mean(0)) / (std + 1e-9)


def ground_cost(x0: np.ndarray, x1: np.ndarray) -> np.ndarray:
    """Euclidean distances [n0, n1] of the rows of x0 and x1, divided by the largest of them.

    In the precision given: where plans tie (always, for a single sample) rounding decides which one EMD finds,
    and the reference rounds to float32.
    """
    # differences, not the expanded square: a neuron and its copy must be at distance 0, not at rounding error
    cost = np.stack([np.sqrt(((row - x1) ** 2).sum(1)) for row in x0])
    top = cost.max()
    return cost / top if top > 0 else cost


def sinkhorn(cost: np.ndarray, reg: float, *, steps: int = 20000, tolerance: float = 1e-9) -> np.ndarray:
    """The entropic plan [n0, n1] between uniform masses, iterated in log space, so that no reg is too small."""
    n0, n1 = cost.shape
    f, g = np.zeros(n0), np.zeros(n1)
    for _ in range(steps):
        g = -np.log(n1) - logsumexp(f[:, None] - cost / reg, axis=0)
        new = -np.log(n0) - logsumexp(g - cost / reg, axis=1)
        done = np.abs(new - f).max() < tolerance
        f = new
        if done:
            break
    return np.exp(f[:, None] + g - cost / reg)


def transport(cost: np.ndarray, solver: str, reg: float) -> np.ndarray:
    """T = n0 P [n0, n1], P the plan between uniform masses: every row sums to 1.

    Where n0 and n1 differ columns sum to n0 / n1, which rescales what is aligned; so does the reference.

    Raises:
        ImportError: POT is not installed.
    """
    n0, n1 = cost.shape
    if solver == "sinkhorn" and reg < SMALL_REG:
        return n0 * sinkhorn(cost, reg)
    try:
        import ot
    except ImportError as error:
        raise ImportError("merging by optimal transport needs POT: pip install 'fusion_jax[merging]'") from error
    mu, nu = np.full(n0, 1 / n0), np.full(n1, 1 / n1)
    return n0 * (ot.emd(mu, nu, cost) if solver == "emd" else ot.bregman.sinkhorn(mu, nu, cost, reg=reg))


def through(t_in: np.ndarray | None, kernel: np.ndarray) -> np.ndarray:
    """T_in^T K: the kernel as it reads mapped features; T_in None is the identity."""
    kernel = np.asarray(kernel, np.float64)
    return kernel if t_in is None else t_in.T @ kernel


def last(layer: Layer, t_in: np.ndarray | None) -> dict[str, np.ndarray]:
    """The classifier: only its input is mapped."""
    return {**layer, "kernel": through(t_in, layer["kernel"])}


def mapped(layer: Layer, t_in: np.ndarray | None, t_out: np.ndarray) -> dict[str, np.ndarray]:
    """T_in^T K T_out and b T_out."""
    out = {"kernel": through(t_in, layer["kernel"]) @ t_out}
    return out if layer.get("bias") is None else {**out, "bias": layer["bias"] @ t_out}


def norm(layer: Layer, t_in: np.ndarray | None) -> dict[str, np.ndarray]:
    """Scale and shift of a layer norm, g T_in and b T_in; the map passes through it unchanged."""
    return {k: v if t_in is None else v @ t_in for k, v in layer.items()}


def head_order(costs: list[np.ndarray], heads: int, solver: str, reg: float) -> np.ndarray:
    """For every head of model 0 its partner: the assignment with the least transport cost, summed over `costs`."""
    total = np.zeros((heads, heads))
    for cost in costs:
        for i, rows in enumerate(np.split(cost, heads, 0)):
            for j, block in enumerate(np.split(rows, heads, 1)):
                total[i, j] += (transport(block, solver, reg) * block).sum()
    return linear_sum_assignment(total)[1]


def head_map(cost: np.ndarray, order: np.ndarray, solver: str, reg: float) -> np.ndarray:
    """A map of one block a head, head i onto head order[i]."""
    out, heads = np.zeros(cost.shape), len(order)
    rows, columns = (np.split(np.arange(n), heads) for n in cost.shape)
    for i, j in enumerate(order):
        where = np.ix_(rows[i], columns[j])
        out[where] = transport(cost[where], solver, reg)
    return out


@dataclasses.dataclass(frozen=True)
class Rules:
    """Which of the published rules, with the paper's defaults.

    Attributes:
        cost: neurons are compared by their activations ("acts") or incoming weights ("wts").
        solver: "sinkhorn" (soft) or "emd" (hard).
        reg: entropic weight of Sinkhorn, of costs in [0, 1]; None: 0.08 (acts), 0.06 (wts).
        residual: how the maps of a residual join combine.
        qk: one map each for Q and K ("separate"), one for both ("eq_t_map"), or Q and K as one layer ("joint").
        heads: "reference" ignores heads: a map may mix them, and a permutation across heads changes what the
            layer computes. "blocks" matches whole heads and then neurons within them; Q and K share a map.
    Raises:
        ValueError: an unknown choice, or reg <= 0.
    """

    cost: str = "acts"
    solver: str = "sinkhorn"
    reg: float | None = None
    residual: str = "mean"
    qk: str = "separate"
    heads: str = "reference"

    def __post_init__(self):
        for option, allowed in CHOICES.items():
            value = getattr(self, option)
            if value not in allowed:
                raise ValueError(f"ot_fusion: {option}={value!r}{nearest(value, allowed)}; expected one of {allowed}")
        if self.reg is None:
            object.__setattr__(self, "reg", REG[self.cost])
        if not isinstance(self.reg, int | float) or self.reg <= 0:
            raise ValueError(f"ot_fusion: reg={self.reg!r}, expected a positive number")

    def costs(self, kernels: Pair, acts: Pair) -> np.ndarray:
        """Distances [n0, n1] of neurons; kernels [in, n] already in the anchor's input coordinates, acts [S, n]."""
        if self.cost == "acts":
            return ground_cost(acts[0].T, acts[1].T)
        rows = [k.T / (np.linalg.norm(k.T, axis=1, keepdims=True) + 1e-9) for k in kernels]
        return ground_cost(*rows)

    def map(self, kernels: Pair, acts: Pair, heads: int = 1) -> np.ndarray:
        """T of the neurons; `heads` counts in mode "blocks" only."""
        cost = self.costs(kernels, acts)
        if self.heads == "reference" or heads == 1:
            return transport(cost, self.solver, self.reg)
        return head_map(cost, head_order([cost], heads, self.solver, self.reg), self.solver, self.reg)

    def dense(
        self, layer0: Layer, layer1: Layer, t_in: np.ndarray | None, acts: Pair
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """A dense layer and its own map; acts are the standardised pre-activations [S, n] of the two."""
        t_out = self.map((through(t_in, layer0["kernel"]), np.asarray(layer1["kernel"])), acts)
        return mapped(layer0, t_in, t_out), t_out

    def table(self, table0: np.ndarray, table1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A table of embeddings [P, n] and its map: its columns are the neurons, its rows their activations."""
        t_out = self.map((np.asarray(table0), np.asarray(table1)), (table0, table1))
        return table0 @ t_out, t_out

    def attention(
        self,
        block0: Mapping[str, Layer],
        block1: Mapping[str, Layer],
        t_in: np.ndarray | None,
        acts: Mapping[str, Pair],
        heads: int = 1,
    ) -> tuple[dict[str, dict[str, np.ndarray]], np.ndarray]:
        """Layers "q", "k", "v" and, where there is one, "o"; returns them aligned, and the block's map.

        `acts` are pre-activations by the same names. Without "o" the block's map is that of "v".
        """
        if self.heads == "blocks" and heads > 1:
            t_q, t_k, t_v = self._head_maps(block0, block1, t_in, acts, heads)
            out = {n: mapped(block0[n], t_in, t) for n, t in (("q", t_q), ("k", t_k), ("v", t_v))}
        else:
            out = self._queries_and_keys(block0, block1, t_in, acts)
            out["v"], t_v = self.dense(block0["v"], block1["v"], t_in, acts["v"])
        if "o" not in block0:
            return out, t_v
        out["o"], t_out = self.dense(block0["o"], block1["o"], t_v, acts["o"])
        return out, t_out

    def _queries_and_keys(self, block0, block1, t_in, acts):
        if self.qk == "separate":
            return {n: self.dense(block0[n], block1[n], t_in, acts[n])[0] for n in ("q", "k")}
        if self.qk == "eq_t_map":
            t_out = transport(self._shared_costs(block0, block1, t_in, acts), self.solver, self.reg)
            return {n: mapped(block0[n], t_in, t_out) for n in ("q", "k")}
        # The reference stacks the weights as Q over K but the activations as K beside Q, so that Q is matched by
        # what K does; here both are stacked alike, as the paper has it.
        both = [{k: np.concatenate([b["q"][k], b["k"][k]], axis=-1) for k in b["q"]} for b in (block0, block1)]
        seen = tuple(np.concatenate([acts["q"][i], acts["k"][i]], axis=1) for i in (0, 1))
        layer, _ = self.dense(*both, t_in, seen)
        halves = {k: np.split(v, [block1["q"]["kernel"].shape[-1]], axis=-1) for k, v in layer.items()}
        return {n: {k: v[i] for k, v in halves.items()} for i, n in enumerate(("q", "k"))}

    def _shared_costs(self, block0, block1, t_in, acts) -> np.ndarray:
        """Costs of neurons that Q and K have in common: both activations, or both incoming weights."""
        kernels = (
            np.concatenate([through(t_in, block0[n]["kernel"]) for n in ("q", "k")]),
            np.concatenate([np.asarray(block1[n]["kernel"]) for n in ("q", "k")]),
        )
        return self.costs(kernels, tuple(np.concatenate([acts["q"][i], acts["k"][i]]) for i in (0, 1)))

    def _head_maps(self, block0, block1, t_in, acts, heads):
        both = self._shared_costs(block0, block1, t_in, acts)
        value = self.costs((through(t_in, block0["v"]["kernel"]), np.asarray(block1["v"]["kernel"])), acts["v"])
        order = head_order([both, value], heads, self.solver, self.reg)
        shared, own = (head_map(c, order, self.solver, self.reg) for c in (both, value))
        return shared, shared, own

    def join(self, t_res: np.ndarray, t_new: np.ndarray, acts_res: np.ndarray, acts_new: np.ndarray) -> np.ndarray:
        """The map behind a residual join of a stream and a new summand; acts [S, n] are the anchor's."""
        if self.residual == "no_resid":
            return t_new
        if self.residual == "only_resid":
            return t_res
        if self.residual == "mean":
            return (t_res + t_new) / 2
        axis = None if self.residual == "weighted_scalar" else 0
        res, new = (np.abs(np.asarray(a, np.float64)).mean(axis) for a in (acts_res, acts_new))
        return t_res * (res / (res + new)) + t_new * (new / (res + new))

    def encoder(
        self,
        block0: Mapping[str, Any],
        block1: Mapping[str, Any],
        t_in: np.ndarray,
        acts: Mapping[str, Any],
        before: np.ndarray,
        heads: int = 1,
    ) -> tuple[dict[str, Any], np.ndarray]:
        """A pre-norm encoder layer: norm1, attention, join, norm2, ff0, ff1, join.

        Args:
            block0, block1: "norm1", "norm2", "ff0", "ff1" (layers) and "attention" ("q", "k", "v", "o").
            acts: pairs for "q", "k", "v", "o", "ff0", "ff1"; and "attended" [S, n], the anchor's attention output.
            before: [S, n], what the anchor's layer was given.
        """
        out = {"norm1": norm(block0["norm1"], t_in)}
        out["attention"], t_new = self.attention(block0["attention"], block1["attention"], t_in, acts, heads)
        t = self.join(t_in, t_new, before, acts["attended"])
        out["norm2"] = norm(block0["norm2"], t)
        out["ff0"], t_hidden = self.dense(block0["ff0"], block1["ff0"], t, acts["ff0"])
        out["ff1"], t_new = self.dense(block0["ff1"], block1["ff1"], t_hidden, acts["ff1"])
        return out, self.join(t, t_new, acts["attended"] + before, acts["ff1"][1])
