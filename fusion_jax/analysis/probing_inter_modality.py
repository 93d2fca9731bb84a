"""Inter-modality flow: how much of what a fusion attends to crosses from one modality to another.

Reference: Xue et al., "Probing Inter-modality", NeurIPS 2021 (arXiv 2106.13488), which names the metric; its formula is
in no source that can be read. What stands here is a reconstruction (unverified); golden `probing-inter-modality`.
The rollout is that of Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pandas as pd

from fusion_jax.analysis.base import Report, Shown, among_modalities
from fusion_jax.nn.masked_groups import PAPER
from fusion_jax.records import Info
from fusion_jax.results.figures import new_figure
from fusion_jax.results.restore import Restored
from fusion_jax.training.compilation import own_settings

INFO = Info(PAPER, 2021, golden="probing-inter-modality", cost="O(N L (H M^2 + M^3))")
OF = "cell"
CHECKED_WITH = {"model.fusion.name": "deconstructing_attention", "model.fusion.options": dict(layers=2, heads=2)}
FORMS = ("direct", "rollout")
NOTE = (
    "The paper names inter-modality flow and its formula is in no source we could read: this is a reconstruction "
    "(unverified). `uniform` is what weights alike for all modalities that are there would give, and is what a share "
    "is to be read against. Flows are means over the nodes that have both modalities there, of one seed's model; what "
    "a node takes sums to 1, a row of means need not where nodes differ in what they have. The rollout starts from the "
    "identity, adds the residual as A/2 + I/2, and takes graph layers between fusions for the identity. Attention "
    "along edges is not in it: a stream's own edges cross no modality."
)


def share(a: np.ndarray, group: np.ndarray, present: np.ndarray | None = None) -> np.ndarray:
    """The part of the attention mass that crosses groups, [...]: 0 within groups only; NaN without any mass.

    It is a part of the mass, not of the pairs: a rare modality is not made silent by its few pairs.

    Args:
        a: [..., n, n], row = query.
        group: int [n], the modality of every token.
        present: bool [..., n], tokens that are there; all if None. Others neither ask nor are asked.
    """
    a, group = _there(a, present), np.asarray(group)
    crosses = group[:, None] != group
    total = a.sum((-2, -1))
    return np.where(total > 0, (a * crosses).sum((-2, -1)) / np.where(total > 0, total, 1), np.nan)


def directed(a: np.ndarray, group: np.ndarray, present: np.ndarray | None = None) -> np.ndarray:
    """F[a, b] = (1/n_a) sum over i in a, j in b of A_ij, [..., G, G]: what modality a takes from b; rows sum to 1.

    n_a counts the tokens that are there; a row is NaN where there is none, and its column 0. Arguments as in `share`.
    """
    held = _members(group, present)
    count = held.sum(-2)[..., None]
    found = np.swapaxes(held, -2, -1) @ _there(a, present) @ held
    return np.where(count > 0, found / np.where(count > 0, count, 1), np.nan)


def rollout(layers: np.ndarray, present: np.ndarray | None = None) -> np.ndarray:
    """R_0 = I, R_l = rows of ((A_l + I) / 2) R_(l-1) scaled to sum 1, [L, ..., n, n], one behind every layer.

    Later layers multiply from the left. Heads are averaged before: layers [L, ..., n, n].
    """
    layers = _there(layers, present)
    identity = np.eye(layers.shape[-1])
    carried, found = np.broadcast_to(identity, layers.shape[1:]), []
    for a in layers:
        carried = (a + identity) / 2 @ carried
        carried = carried / carried.sum(-1, keepdims=True)
        found.append(carried)
    return np.stack(found)


def uniform(group: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Attention alike for all tokens that are there, [..., n, n]."""
    present = np.broadcast_to(present, (*np.shape(present)[:-1], len(group)))
    count = np.maximum(present.sum(-1), 1)[..., None, None]
    return present[..., None, :] / count * np.ones((len(group), 1))


def _there(a: np.ndarray, present: np.ndarray | None) -> np.ndarray:
    a = np.asarray(a, np.float64)
    return a if present is None else np.where(present[..., :, None] & present[..., None, :], a, 0)


def _members(group: np.ndarray, present: np.ndarray | None) -> np.ndarray:
    """[..., n, G], 1 where a token is of the group and there."""
    member = np.asarray(group)[:, None] == np.arange(np.max(group) + 1)
    return (member if present is None else member & present[..., None]).astype(np.float64)


@own_settings()
def probing_inter_modality(cell: Restored, place: int) -> Report:
    """Inter-modality flow of one seed's model: by layer and head, and carried through all layers.

    Tokens are the modalities of a node, one each: where all M are there the share of a layer is 1 less the mean of the
    diagonal of A. Fusions of a model follow each other, as do their layers.

    Tables: "share" has a row a fusion, layer and head: share, uniform, ratio of both and nodes (with two modalities
    or more). "flow" has a row a form, layer and ordered pair of modalities: `to` takes from `from` the share flow of
    its attention; uniform, nodes. The form "direct" is of the layer alone, "rollout" of all up to it, beside that of
    uniform weights. Facts "crossing" and "uniform": the mean share that crosses in the last layer's rollout.

    Args:
        place: which stored seed.
    Raises:
        ValueError: no attention among modalities, or no node with two of them.
    """
    names = list(cell.prepared.batch.names)
    shown = among_modalities(cell, place, "probing_inter_modality")
    group, shares, flows, layers = np.arange(len(names)), [], [], []
    for one in shown:
        several = one.tokens.sum(1) > 1
        if not several.any():
            raise ValueError("probing_inter_modality: no node of this cell has two modalities")
        shares += _shares(one, several)
        for layer in range(one.weights.shape[1]):
            layers.append([_there(a, one.tokens) for a in (one.weights[:, layer].mean(1), uniform(group, one.tokens))])
            carried = [rollout(np.stack(each))[-1] for each in zip(*layers, strict=True)]
            for form, both in zip(FORMS, (layers[-1], carried), strict=True):
                flows += _flows(dict(form=form, fusion=one.name, layer=layer), both, one.tokens, names)
    crossing = [float(share(a[several], group, one.tokens[several]).mean()) for a in carried]
    table, flow = pd.DataFrame(shares), pd.DataFrame(flows)
    return Report(
        {"share": table, "flow": flow},
        _sentence(table, flow, crossing),
        {"share": functools.partial(_figure, table)},
        note=NOTE,
        facts=dict(crossing=crossing[0], uniform=crossing[1]),
    )


def _shares(one: Shown, several: np.ndarray) -> list[dict]:
    group = np.arange(one.tokens.shape[1])
    alike = float(share(uniform(group, one.tokens[several]), group, one.tokens[several]).mean())
    rows = []
    for layer, head in itertools.product(*map(range, one.weights.shape[1:3])):
        found = float(share(one.weights[several, layer, head], group, one.tokens[several]).mean())
        row = dict(fusion=one.name, layer=layer, head=head, share=found, uniform=alike)
        rows.append(row | dict(ratio=found / alike, nodes=int(several.sum())))
    return rows


def _flows(at: dict, both: list[np.ndarray], tokens: np.ndarray, names: list[str]) -> list[dict]:
    """Rows of the pairs of modalities, of attention and of uniform weights [N, M, M]."""
    group, rows = np.arange(len(names)), []
    found = dict(zip(("flow", "uniform"), (directed(a, group, tokens) for a in both), strict=True))
    for i, j in itertools.product(group, group):
        there = tokens[:, i] & tokens[:, j]
        row = {**at, "to": names[i], "from": names[j]}
        row |= {name: float(f[there, i, j].mean()) if there.any() else np.nan for name, f in found.items()}
        rows.append(row | dict(nodes=int(there.sum())))
    return rows


def _sentence(table: pd.DataFrame, flow: pd.DataFrame, crossing: list[float]) -> str:
    last = flow[(flow.form == "rollout") & (flow.fusion == flow.fusion.iloc[-1])]
    last = last[(last.layer == last.layer.max()) & (last["to"] != last["from"])].dropna()
    most = last.loc[last.flow.idxmax()]
    layers = len(table.groupby(["fusion", "layer"]))
    return (
        f"In {'the one layer' if layers == 1 else f'{layers} layers'} {table.share.mean():.0%} of the attention "
        f"crosses from one modality to another, {table.uniform.mean():.0%} if all weights were equal (`share`); "
        f"carried on, with half of what a token holds kept by every layer (rollout), {crossing[0]:.0%} of it comes "
        f"from other modalities at the end, against {crossing[1]:.0%}, most from {most['from']} to {most['to']} "
        f"({most.flow:.0%} of what {most['to']} holds)."
    )


def _figure(table: pd.DataFrame):
    """The share of every layer and head, and a line where uniform weights would be."""
    fig, ax = new_figure(3 + 0.4 * len(table), 3.5)
    ax.bar(np.arange(len(table)), table.share, color="C0")
    at = np.arange(len(table))
    ax.hlines(table.uniform, at - 0.45, at + 0.45, color="k", ls="--", label="uniform weights")
    ax.set_xticks(np.arange(len(table)), [f"{r.layer}.{r.head}" for r in table.itertuples()], fontsize="small")
    ax.set_xlabel("layer.head")
    ax.set_ylabel("share that crosses modalities")
    ax.set_ylim(0, 1)
    ax.set_xlim(-0.7, len(table) - 0.3)
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
