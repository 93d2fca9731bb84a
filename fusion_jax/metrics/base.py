"""The contract of a metric.

A metric is a class named like its file, without state. It is computed on the host, from one seed's predictions for some
rows, whenever a table is made: what is stored are the predictions.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

import numpy as np
from scipy.special import log_softmax, softmax

from fusion_jax.records import Target


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """Some rows of one seed: what is true of them and what was predicted.

    Attributes:
        target: of NumPy arrays [N, ...].
        prediction: [N, C], as it is stored (`Output.prediction`; values in the target's own units).
        uncertainty: [N] in (0, 1], where the model states it; else None.
    """

    target: Target
    prediction: np.ndarray
    uncertainty: np.ndarray | None = None

    @functools.cached_property
    def log_p(self) -> np.ndarray:
        """float64 [N, C], the logarithms of the softmax of the prediction."""
        return log_softmax(np.asarray(self.prediction, np.float64), axis=-1)

    @functools.cached_property
    def p(self) -> np.ndarray:
        """float64 [N, C], the softmax of the prediction."""
        return softmax(np.asarray(self.prediction, np.float64), -1)


class Metric:
    """One number of some rows; a subclass says which.

    Attributes:
        name: under which it is recorded; "" for the file's. Metrics of several tasks may share one, and then its
            heading, direction and table too.
        heading: of its column.
        tasks: the tasks it is for (a task of one's own may name the metric too, `Task.metrics`).
        higher: whether more is better.
        digits: shown behind the point.
        table: which table shows it, "main" or "calibration".
        rank: its place among the columns of its table, lowest first.
        fraction: whether it lies between 0 and 1, so that hundredths of it are points and it can be told in percent.
        pairs: whether it is a share of pairs of rows, as areas under curves are: its steps are less than a row.
        share: whether it is the share of right rows, of which Wilson's interval is known.
        note: what a reader of its column has to know, a sentence below the table; "" for nothing.
    """

    name: ClassVar[str] = ""
    heading: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]]
    higher: ClassVar[bool] = True
    digits: ClassVar[int] = 3
    table: ClassVar[str] = "main"
    rank: ClassVar[int] = 100
    fraction: ClassVar[bool] = False
    pairs: ClassVar[bool] = False
    share: ClassVar[bool] = False
    note: ClassVar[str] = ""

    def __call__(self, rows: Scored) -> float | None:
        """The value; NaN where these rows leave it undefined, None where it does not apply to such a target."""
        raise NotImplementedError

    def influence(self, rows: Scored) -> np.ndarray | None:
        """psi [N], N dT/dw_i of the value T by the rows' weights at 1 (`results.influence`); None where not known."""
        return None
