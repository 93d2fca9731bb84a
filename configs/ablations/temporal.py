"""Does an encoder that reads the times of events see what is in them, and which code of time sees it best?

    python -m experiments.sweep --config=configs/ablations/temporal.py --workdir=results/temporal --jobs=1

Planted data (`synthetic_temporal`): the label is in the phase of the times. The linear encoder does not see them and
can be right with probability 1/4; the bound with times is `synthetic_temporal.bayes_accuracy()`, 0.94. The codes start
with waves of a day to a hundred days; the planted period is a week, so it has to be found.
"""

import math

from fusion_jax.study import defaults

TURN = 2 * math.pi  # a wave of scale s has the period 2 pi s, in the flexible code (2 pi)^2 s
CODES = {
    "bochner": dict(code="bochner", scales=(1 / TURN, 100 / TURN)),
    "bochner, tied": dict(code="bochner", scales=(1 / TURN, 100 / TURN), tied=True),
    "mercer": dict(code="mercer", scales=(1 / TURN, 100 / TURN)),
    "mercer_flexible": dict(code="mercer_flexible", scales=(1 / TURN**2, 100 / TURN**2)),
}


def get_config(arg: str = ""):
    config = defaults.get_config(arg)
    config.data.name = "synthetic_temporal"
    config.model.dim = 32
    config.model.fusion.name = "mean"
    config.model.layer.name = "none"
    config.model.layers = 1
    config.model.rate = 0.0
    return config


def sweep(add):
    add({"model.encoder.name": "linear"}, label="linear (no times)")
    for label, options in CODES.items():
        add({"model.encoder.name": "functional_time", "model.encoder.options": options}, label=label)
