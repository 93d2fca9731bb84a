"""Multi-label classification: a row has any of C labels, of each of which a prediction holds the logit [N, C]."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special

from fusion_jax.arrays import flags, refuse
from fusion_jax.tasks.base import Field, Task


def to_flags(value: Any, where: str) -> np.ndarray:
    """bool [N, C]; 0 and 1 too."""
    expected = "bool [N, C], true where the row has the label"
    array = flags(value, where, expected)
    if array.ndim != 2:
        refuse(where, f"shape {array.shape}", expected)
    return array


class Labels(Task):
    """`labels` bool [N, C]. A label is given where its logit is above 0."""

    fields = {"labels": Field(to_flags, hidden=False)}
    loss = "binary_cross_entropy"
    primary = "micro_f1"

    def validate(self, target, data, fail):
        if target.labels.shape[1] != target.num_outputs:
            fail("target.labels", f"shape {target.labels.shape}", f"[{len(target)}, {target.num_outputs}]")
        if data.class_names and len(data.class_names) != target.num_outputs:
            fail("class_names", f"{len(data.class_names)} names", f"{target.num_outputs}, one a label, or none")

    def told(self, prediction):
        """The probability of each label."""
        return scipy.special.expit(np.asarray(prediction, np.float64))

    def answers(self, told, names=()):
        """Of each label, whether it is given, by the mean probability, and that."""
        mean, found = told.mean(0), {}
        for c, name in enumerate(names or map(str, range(mean.shape[1]))):
            found |= {name: mean[:, c] > 0.5, f"p {name}": mean[:, c]}
        return found

    def check_split(self, target, parts, where):
        missing = np.flatnonzero(~target.labels[parts["train"]].any(0))
        if missing.size:
            raise ValueError(f"{where}: label {missing[0]} is in no training row ({missing.size} such labels)")
