"""The share of the target's variance that is explained; it has no unit, so that it compares outputs of several."""

from sklearn import metrics as sk

from fusion_jax.metrics.base import Metric
from fusion_jax.metrics.rmse import error


class R2(Metric):
    """1 - sum_n (z_n - y_n)^2 / sum_n (y_n - mean y)^2, of several outputs the mean over them."""

    heading = "R²"
    tasks = ("values",)
    rank = 20

    def __call__(self, rows):
        return float(sk.r2_score(rows.target.values, rows.prediction))

    def influence(self, rows):
        wrong, values = error(rows), rows.target.values
        spread = (values - values.mean(0)) ** 2
        if not (spread.sum(0) > 0).all():
            return None
        lost = (wrong**2).sum(0) / spread.sum(0)
        return len(wrong) * ((lost * spread - wrong**2) / spread.sum(0)).mean(1)
