"""A line of a study's table: what it is, its values by seed, and what is known of its splits and test rows."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from fusion_jax.results import calibration

UNFINISHED = "not finished"
PUBLISHED, KNOWN = "published", "known"  # stand for the protocol of rows that are not run: see `study.published`
NO_GRAPH = " (no graph)"  # at the end of a placement


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        label, placement, layer, data, protocol, setting: what the row is.
        values: {metric: float [S]} on test rows, from the stored predictions where there are any.
        parameters, seconds: of one seed; None where they mean nothing.
        error: the message of a failed cell, `UNFINISHED` where seeds are missing, "" otherwise.
        task, primary: what is predicted, and the metric that ranks.
        table: which metrics are shown, those of the "main" table or of "calibration".
        published: {metric: (mean, standard deviation or None)} of a row that others have published or that is known
            without running anything, which takes no part in comparisons; source: what to cite for it.
        cell: identity of the row's cell; "" of a row that is not one cell's.
        seeds: of the values, in their order; () for 0, 1, ...
        tested: int [N], the test rows where all its seeds have the same ones: their spread is of training alone.
            None where every seed draws its own, or no predictions are stored.
        influence: {metric: float [S, N]} of these rows, see `fusion_jax.results.influence`; {} where there are none.
        trials, chosen: of a tuned row how many trials were tried, and {key of the config: value} of the one it is; 0
            and {} where the values were set by hand.
        role: what the row is for: a "fusion" of several modalities with the graph, the same with "no graph", one
            "modality" alone, the graph's "structure" alone, a "control", or "" of a row that is not run.
        fusion: the mechanism's name; "" of controls and of rows that are not run.
        calibration: of its class probabilities; None where there are none, or the row is not one cell's.
        flops: of an epoch of one seed; peak_bytes, compile_seconds: of the compiled program, which trains all of them;
            None where they are not recorded.
        variant: the label without what it says of seeds that are missing; "" for the label.
        train_rows, test_rows: how many of them each seed has; () where no predictions are stored.
        met: int [M], the rows that some seed tests, where every seed draws its own; None where they are fixed, or there
            are no more test rows than training rows, so that nobody asks.
        met_influence: {metric: float32 [S, M]} of them, NaN where a seed does not test one; {} where not known.
        splits: the digest of each seed's split; () where it is not stored.
        looks, limit: the numbers of seeds at which it was looked at while seeds were added up to a limit (`run.until`);
            () and 0 where their number was fixed.
        without_graph: the same of rows whose configs differ in the graph and its layers alone, and in what tuning
            chose; "" of controls and of rows that are not run.
    """

    label: str
    placement: str
    data: str
    protocol: str
    setting: str
    values: dict[str, np.ndarray]
    parameters: int | None
    seconds: float | None
    error: str = ""
    task: str = "classes"
    primary: str = "accuracy"
    table: str = "main"
    published: dict[str, tuple[float, float | None]] = dataclasses.field(default_factory=dict)
    source: str = ""
    cell: str = ""
    seeds: tuple[int, ...] = ()
    tested: np.ndarray | None = None
    influence: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    chosen: dict[str, Any] = dataclasses.field(default_factory=dict)
    trials: int = 0
    variant: str = ""
    role: str = ""
    fusion: str = ""
    calibration: calibration.Calibration | None = None
    flops: float | None = None
    peak_bytes: float | None = None
    compile_seconds: float | None = None
    train_rows: tuple[int, ...] = ()
    test_rows: tuple[int, ...] = ()
    met: np.ndarray | None = None
    met_influence: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    splits: tuple[str, ...] = ()
    looks: tuple[int, ...] = ()
    limit: int = 0
    without_graph: str = ""

    @property
    def name(self) -> str:
        """What the row is called whether or not all of its seeds are there."""
        return self.variant or self.label

    def by_seed(self, metric: str) -> dict[int, float]:
        """{seed: value} of a metric."""
        values = self.values[metric]
        return dict(zip(self.seeds or range(len(values)), map(float, values), strict=True))
