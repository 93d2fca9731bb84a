"""Functional time (Xu et al., 2019): attention over events, each with a learned code of when it took place.

The paper says that self-attention gains from a code of continuous time, and that the Mercer code, a Fourier series with
learned coefficients, is better than the Bochner one. Asked where the class is in the phase of the times: against
attention over the same events without their times, and of one code against the other.
"""

import math

from fusion_jax.study.claim_files import minutes

OF = ("encoder", "functional_time")
SETTING = (
    "Planted events (synthetic_temporal, 600 nodes with six events each, a period of seven days: the best classifier "
    ".87, without times .25), codes that start with waves of one to a hundred days, 8,000 parameters; the paper has "
    "sequences of purchases, questions and films (StackOverflow, Walmart, MovieLens) and predicts the next item."
)
TURN = 2 * math.pi  # a wave of scale s has the period 2 pi s


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic_temporal",
        "data.options": {"signal": 0.5},
        "model.fusion.name": "mean",
        "model.layers": 1,
        "model.rate": 0.0,
        "size.parameters": 8_000,
    }
    return minutes(arg, changes, epochs=150)


def sweep(add):
    for code in ("mercer", "bochner"):
        options = {"code": code, "scales": (1 / TURN, 100 / TURN)}
        timed = {"model.encoder.name": "functional_time", "model.encoder.options": options}
        add(timed | {"model.layer.name": "none"}, label=code)
    add({"model.layer.name": "gat", "model.layer.options": {"heads": 1}}, label="attention without times")


def claims():
    return [
        dict(
            claim="attention with a code of time reads what attention without cannot",
            better="mercer",
            than="attention without times",
            by=0.1,
        ),
        dict(claim="the Mercer code beats the Bochner code", better="mercer", than="bochner"),
    ]
