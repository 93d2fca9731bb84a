"""What GCAV found as a report: the sentence, the note and the figure beside its tables."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

from fusion_jax.analysis.base import Report
from fusion_jax.results.figures import new_figure

RANDOM = "random"  # the concept that random sets of nodes stand for


def report(table: pd.DataFrame, summary: pd.DataFrame, target: str, examples: int, left_out: tuple[str, ...]) -> Report:
    """The report of the two tables `gcav` describes, for a class of which `examples` nodes were looked at."""
    return Report(
        tables={"summary": summary, "layers": table},
        sentence=_sentence(table, summary, target),
        figures={"layers": functools.partial(_figure, table, target)},
        note=_note(target, examples, left_out),
        facts=dict(target=target, examples=examples, left_out=left_out),
    )


def _sentence(table: pd.DataFrame, summary: pd.DataFrame, target: str) -> str:
    """The concept whose mean TGCAV is farthest from that of random sets, and both, beside their TCAV."""
    means = summary.pivot(index="concept", columns="score", values="mean")
    chance = means.loc[RANDOM]
    concept = (means.tgcav.drop(RANDOM) - chance.tgcav).abs().idxmax()
    own = means.loc[concept]
    side = "more" if own.tgcav > chance.tgcav else "less" if own.tgcav < chance.tgcav else "as much"
    among = "" if len(means) == 2 else f", of {len(means) - 1} concepts the farthest from random sets of nodes,"
    known = table.groupby("concept").cav_accuracy.mean()
    told = (
        f"classifiers on these layers tell its nodes from others in {known[concept]:.1%} of cases, "
        f"those of random sets in {known[RANDOM]:.1%}"
    )
    if known[concept] <= known[RANDOM]:
        told += ": no layer needs to know the concept for such scores, and they say nothing of it"
    return (
        f"The concept {concept}{among} speaks for class {target} at {own.tgcav:.1%} of the nodes of that class on "
        f"average over {table.layer.nunique()} layers (TGCAV), {side} {'as' if side == 'as much' else 'than'} random "
        f"sets at {chance.tgcav:.1%}; layer by layer (TCAV) it is {own.tcav:.1%} and {chance.tcav:.1%}; {told}."
    )


def _note(target: str, examples: int, left_out: tuple[str, ...]) -> str:
    note = (
        f"Class {target}, {examples} nodes: the share of them for which the concept speaks for the class "
        "(mean and deviation over repeats; p_tcav of a t-test against random concepts). An accuracy near that of "
        "guessing means that the layer does not know the concept. TGCAV has no p: its repeats share one alignment and "
        "one fusion, so that they are not independent and a t-test would find what is not there."
    )
    return note + f" Left out, the class does not depend on them: {', '.join(left_out)}." * bool(left_out)


def _figure(table: pd.DataFrame, target: str):
    """Scores over the layers, a colour a concept: TCAV dashed, TGCAV solid."""
    layers = list(dict.fromkeys(table.layer))
    fig, axes = new_figure(2 + 0.8 * len(layers), 3.6)
    lines = 2 * table.concept.nunique()
    for i, (name, group) in enumerate(table.groupby("concept", sort=False)):
        colour = "0.6" if name == RANDOM else f"C{i}"
        for j, (score, style) in enumerate((("tcav", "--"), ("tgcav", "-"))):
            axes.errorbar(
                np.arange(len(layers)) + 0.5 * ((2 * i + j + 0.5) / lines - 0.5),  # bars beside each other
                group[score],
                group[f"{score}_std"],
                color=colour,
                ls=style,
                marker="o",
                ms=3,
                capsize=2,
                label=f"{name}, {score.upper()}",
            )
    axes.set_xticks(range(len(layers)), layers, rotation=30, ha="right")
    reach = [(table[s] + sign * table[f"{s}_std"]) for s in ("tcav", "tgcav") for sign in (-1, 1)]
    axes.set_ylim(min(-0.05, *(r.min() - 0.05 for r in reach)), max(1.05, *(r.max() + 0.05 for r in reach)))
    axes.set_ylabel(f"speaks for class {target}")
    axes.legend(fontsize="x-small", handlelength=4, loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
