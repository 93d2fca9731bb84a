"""What GCAV found as a report: the sentence, the note and the figure beside its tables."""

from __future__ import annotations

import functools

import pandas as pd

from fusion_jax.analysis.base import Report
from fusion_jax.results.figures import new_figure

RANDOM = "random"  # the concept that random sets of nodes stand for


def report(table: pd.DataFrame, summary: pd.DataFrame, target: str, examples: int, left_out: tuple[str, ...]) -> Report:
    """The report of the two tables `gcav` describes, for a class of which `examples` nodes were looked at."""
    return Report(
        tables={"summary": summary, "layers": table},
        sentence=_sentence(summary, target, table.layer.nunique()),
        figures={"layers": functools.partial(_figure, table, target)},
        note=_note(target, examples, left_out),
        facts=dict(target=target, examples=examples, left_out=left_out),
    )


def _sentence(summary: pd.DataFrame, target: str, layers: int) -> str:
    """The concept whose mean TGCAV is farthest from that of random sets, and both, beside their TCAV."""
    means = summary.pivot(index="concept", columns="score", values="mean")
    chance = means.loc[RANDOM]
    concept = (means.tgcav.drop(RANDOM) - chance.tgcav).abs().idxmax()
    own = means.loc[concept]
    side = "more" if own.tgcav > chance.tgcav else "less" if own.tgcav < chance.tgcav else "as much"
    return (
        f"Of the concepts asked for, {concept} stands out most: on average over {layers} layers it speaks for class "
        f"{target} at {own.tgcav:.1%} of its nodes (TGCAV), {side} {'as' if side == 'as much' else 'than'} random sets "
        f"of nodes at {chance.tgcav:.1%}; layer by layer (TCAV) it is {own.tcav:.1%} and {chance.tcav:.1%}."
    )


def _note(target: str, examples: int, left_out: tuple[str, ...]) -> str:
    note = (
        f"Class {target}, {examples} nodes: the share of them for which the concept speaks for the class "
        "(mean and deviation over repeats; p of a t-test against random concepts). An accuracy near that of guessing "
        "means that the layer does not know the concept. The repeats of TGCAV share one alignment and one fusion, so "
        "that they are not independent and its p is too small."
    )
    return note + f" Left out, the class does not depend on them: {', '.join(left_out)}." * bool(left_out)


def _figure(table: pd.DataFrame, target: str):
    """Scores over the layers, a colour a concept: TCAV dashed, TGCAV solid."""
    layers = list(dict.fromkeys(table.layer))
    fig, axes = new_figure(2 + 0.8 * len(layers), 3.6)
    for i, (name, group) in enumerate(table.groupby("concept", sort=False)):
        colour = "0.6" if name == RANDOM else f"C{i}"
        for score, style in (("tcav", "--"), ("tgcav", "-")):
            axes.errorbar(
                range(len(layers)),
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
    axes.set_ylim(-0.05, 1.05)
    axes.set_ylabel(f"speaks for class {target}")
    axes.legend(fontsize="x-small", handlelength=4, loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
