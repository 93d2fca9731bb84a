"""What mattered: every modality's share in the score of a trained cell, and the graph's, exactly.

A game among the modalities and the graph: a coalition is worth what the trained model scores with it, modalities
outside it missing at every node and, where the graph is outside, without an edge. Nothing is trained anew: a network
that never saw a modality missing is asked something it was not made for, and says so in its values too (train with
scheme `modality_dropout`, or under `data.missing`, for one that was).

References: Shapley, "A value for n-person games", 1953; of pairs Grabisch and Roubens, 1999; of trained models Lundberg
and Lee, "A Unified Approach to Interpreting Model Predictions", NeurIPS 2017.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import pandas as pd

from fusion_jax import metrics
from fusion_jax.analysis.base import Report, over_seeds, told_by_edges
from fusion_jax.analysis.shapley import figures, game
from fusion_jax.metrics.base import Scored
from fusion_jax.records import Info
from fusion_jax.results.altered import under_masks, without_edges
from fusion_jax.results.recorded import at
from fusion_jax.results.restore import Restored
from fusion_jax.results.row_scores import row_scores
from fusion_jax.training.compilation import own_settings

INFO = Info("Shapley, A value for n-person games", 1953, cost="2^(M + 1) forward passes a seed")
OF = "cell"
SEEDS = "all"
MOST = 8  # modalities: 512 coalitions with the graph
NOTE = (
    "A modality outside a coalition is missing at every node, training nodes too; without the graph no node hears of "
    "another. Nothing is trained anew. The values of the players sum to the score with all less the score with "
    "nothing; an interaction above 0 says that two are worth more together than apart, below 0 that one can stand in "
    "for the other. Intervals are Student's over the seeds, 95 %: what another seed of this cell would say. Where "
    "seeds draw their splits these overlap, and the intervals do not allow for it."
)


class Played(NamedTuple):
    """What every coalition is worth."""

    players: tuple[str, ...]
    score: np.ndarray  # [S, 2^P], the primary metric on test rows
    rows: tuple[np.ndarray, ...]  # of every seed its test rows
    by_row: tuple[str, tuple[np.ndarray, ...]] | None  # what is said of single rows, of every seed [2^P, R]


@own_settings()
def shapley(cell: Restored, place: int) -> Report:
    """Shapley values of the modalities and the graph, of the primary metric and of single test rows, over all seeds.

    Tables: "values" (of: the metric, or what is said of single rows; player: `nothing` and `everything` are the values
    of the empty and of the full coalition; value with its interval), "interactions" (of every pair), "coalitions" (what
    each is worth, its members joined by " + "; the deviation over seeds) and, of classes and values, "classes" (values
    among the rows of a class) and "rows" (a line a row that some seed tests, the mean over these seeds).

    Args:
        place: not looked at, all seeds are.
    Raises:
        ValueError: more than eight modalities.
    """
    del place
    played = play(cell)
    held = {cell.primary: played.score}
    if played.by_row is not None:
        held[played.by_row[0]] = np.stack([one.mean(1) for one in played.by_row[1]])
    tables = {"values": _values(played.players, held)}
    if len(played.players) > 1:
        tables["interactions"] = _interactions(played.players, held)
    tables["coalitions"] = _coalitions(played.players, held)
    if played.by_row is not None:
        if cell.data.target.kind == "classes":
            tables["classes"] = _classes(cell, played)
        tables["rows"] = _rows(cell, played)
    each = game.values(played.score)
    columns = {
        f"Shapley value of {player}": {seed: float(v) for seed, v in zip(cell.seeds, each[:, j], strict=True)}
        for j, player in enumerate(played.players)
    }
    draw = {"values": functools.partial(figures.values, tables["values"], cell.primary)}
    if "interactions" in tables:
        draw["interactions"] = functools.partial(
            figures.interactions, tables["interactions"], cell.primary, played.players
        )
    return Report(tables, _sentence(tables, cell.primary, len(cell.seeds)), draw, columns, NOTE + told_by_edges(cell))


def play(cell: Restored) -> Played:
    """What every coalition of the modalities and the graph is worth to every seed's model.

    Raises:
        ValueError: more than eight modalities.
    """
    names = cell.prepared.batch.names
    if len(names) > MOST:
        raise ValueError(
            f"shapley: this cell has {len(names)} modalities, which make 2^{len(names) + 1} coalitions; it is exact, "
            f"and made for at most {MOST}: train a cell with fewer (data.modalities)"
        )
    inside = game.members(len(names))
    graph = cell.batch(0).graph is not None
    scores, rows, by_row, called = [], [], [], ""
    for i in range(len(cell.seeds)):
        own = cell.prepared.splits[i].test
        masks = np.broadcast_to(inside[:, None], (len(inside), len(cell.batch(i).mask), len(names)))
        told = [under_masks(cell, i, masks, without_edges(cell, i))] if graph else []  # the graph is the last player
        told = np.concatenate([*told, under_masks(cell, i, masks)])[:, own]
        truth = at(cell.data.target, own)
        scores.append([metrics.score(Scored(truth, one), cell.primary) for one in told])
        rows.append(own)
        if (found := row_scores(truth, told)) is not None:
            called = found[0]
            by_row.append(found[1])
    players = (*names, "graph" if "graph" not in names else "edges") if graph else names
    return Played(players, np.array(scores), tuple(rows), (called, tuple(by_row)) if called else None)


def _values(players: tuple[str, ...], held: dict[str, np.ndarray]) -> pd.DataFrame:
    lines = []
    for name, v in held.items():
        each = dict(zip(players, game.values(v).T, strict=True))
        each = {"nothing": v[:, 0], **each, "everything": v[:, -1]}
        lines += [dict(of=name, player=player, **over_seeds(found)) for player, found in each.items()]
    return pd.DataFrame(lines)


def _interactions(players: tuple[str, ...], held: dict[str, np.ndarray]) -> pd.DataFrame:
    lines = []
    for name, v in held.items():
        index = game.interactions(v)
        for i, first in enumerate(players):
            for j, second in enumerate(players[i + 1 :], i + 1):
                lines.append({"of": name, "player": first, "other": second, **over_seeds(index[:, i, j])})
    return pd.DataFrame(lines)


def _coalitions(players: tuple[str, ...], held: dict[str, np.ndarray]) -> pd.DataFrame:
    inside = game.members(len(players))
    called = [" + ".join(p for p, here in zip(players, one, strict=True) if here) or "nothing" for one in inside]
    table = pd.DataFrame(dict(coalition=called, players=inside.sum(1)))
    for name, v in held.items():
        table[name] = v.mean(0)
        table[f"deviation of {name}"] = v.std(0, ddof=1) if len(v) > 1 else np.nan
    return table.sort_values("players", kind="stable").reset_index(drop=True)


def _classes(cell: Restored, played: Played) -> pd.DataFrame:
    names = cell.data.class_names or tuple(map(str, range(cell.data.target.num_outputs)))
    lines = []
    for c, called in enumerate(names):
        own = [np.asarray(cell.data.target.labels)[rows] == c for rows in played.rows]
        seen = [
            (one[:, mine].mean(1), mine.sum()) for one, mine in zip(played.by_row[1], own, strict=True) if mine.any()
        ]
        if seen:
            each = game.values(np.stack([v for v, _ in seen]))
            count = float(np.mean([n for _, n in seen]))
            lines += [
                {"class": called, "rows": count, "player": player, **over_seeds(each[:, j])}
                for j, player in enumerate(played.players)
            ]
    return pd.DataFrame(lines)


def _rows(cell: Restored, played: Played) -> pd.DataFrame:
    count = len(cell.data.target)
    total, tested = np.zeros((count, 2 ** len(played.players))), np.zeros(count, int)
    for rows, one in zip(played.rows, played.by_row[1], strict=True):
        total[rows] += one.T
        tested[rows] += 1
    some = np.flatnonzero(tested)
    v = total[some] / tested[some][:, None]
    table = pd.DataFrame(dict(row=some))
    if cell.data.target.level == "node" and cell.data.ids is not None:
        table["id"] = np.asarray(cell.data.ids)[some]
    if cell.data.target.kind == "classes":
        names = np.array(cell.data.class_names or range(cell.data.target.num_outputs), dtype=object)
        table["class"] = names[np.asarray(cell.data.target.labels)[some]]
    table["seeds"], table["nothing"] = tested[some], v[:, 0]
    for j, player in enumerate(played.players):
        table[player] = game.values(v)[:, j]
    table["everything"] = v[:, -1]
    return table


def _sentence(tables: dict[str, pd.DataFrame], metric: str, seeds: int) -> str:
    own = tables["values"][tables["values"].of == metric].set_index("player")
    players = own.drop(index=["nothing", "everything"])
    order = players.sort_values("value", ascending=metrics.sign(metric) < 0, kind="stable")
    shares = ", ".join(f"{player} {_told(line)}" for player, line in order.iterrows())
    whose = "one seed" if seeds == 1 else f"{seeds} seeds"
    text = (
        f"Over {whose} {metrics.heading(metric)} is {own.value['nothing']:.3f} without any modality and edge and "
        f"{own.value['everything']:.3f} with all; of the difference: {shares}"
    )
    if "interactions" in tables:
        pairs = tables["interactions"][tables["interactions"].of == metric]
        most = pairs.loc[pairs.value.abs().idxmax()]
        sure = np.isnan(most.low) or most.low > 0 or most.high < 0
        text += f"; the strongest interaction is that of {most.player} and {most.other}, {_told(most)}"
        text += "" if sure else ", not shown to be other than 0"
    return text + "."


def _told(line: pd.Series) -> str:
    text = f"{line.value:+.3f}"
    return text if np.isnan(line.low) else f"{text} [{line.low:+.3f}, {line.high:+.3f}]"
