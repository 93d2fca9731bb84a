"""The area under the risk-coverage curve, where the model itself says how unsure it is."""

import numpy as np

from fusion_jax.metrics.aurc import area_under_risk_coverage
from fusion_jax.metrics.base import Metric
from fusion_jax.metrics.brier import confidence


class AurcUncertainty(Metric):
    """Of the rows by the uncertainty that the model states, the surest first; None where it states none."""

    heading = "AURC by uncertainty"
    tasks = ("classes",)
    higher = False
    digits = 4
    table = "calibration"
    rank = 40

    def __call__(self, rows):
        if rows.uncertainty is None:
            return None
        return area_under_risk_coverage(-np.asarray(rows.uncertainty, np.float64), confidence(rows)[1])
