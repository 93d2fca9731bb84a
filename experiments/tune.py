"""Tunes every cell of a study alike, on validation rows of seeds of their own, then trains what was chosen.

    python -m experiments.tune --config=configs/base.py:fusion=gmu --workdir=results/tuned
    python -m experiments.tune --config=configs/ablations/quickstart.py --workdir=results/tuned --trials=16 \
        --space optimizer.learning_rate=1e-4,3e-2,log --space model.rate=0,.2,.5

Without --space learning rate, dropout and weight decay are tuned as `fusion_jax/study/tuning.py` says. A study that
says itself how it is tuned, by `tune()` in its file, is tuned so, but for what a flag says here. All flags of
`experiments.sweep` are there too. Needs the extra `tune`.
"""

from __future__ import annotations

from typing import Any

from absl import flags

from fusion_jax.study import Tuning, tuning

from . import arguments, pod, sweep

FLAGS = flags.FLAGS


BUDGET = dict(space="space", trials="trials", sampler="sampler", seeds="tuning_seeds")  # flags by what they say


def main(argv):
    del argv
    by = [f"--{flag}" for flag in BUDGET.values() if FLAGS[flag].present]
    pod.run(lambda: sweep.sweep(asked, by))


def asked(own: Any) -> Tuning:
    """The tuning of a study: its own, or the default's, but for what the flags say.

    Args:
        own: `tune` of its file, None where it has none.
    Raises:
        ValueError: no such tuning; see `study.tuning.tune`.
    """
    told = {field: getattr(FLAGS, flag) for field, flag in BUDGET.items() if FLAGS[flag].present}
    if "space" in told:
        told["space"] = arguments.space(told["space"])
    if own is None:
        return tuning.tune(**told)
    given = tuning.as_tuning(own)
    fields = dict(space=given.space, sampler=given.sampler, seeds=len(given.seeds), draw=given.draw) | told
    points = fields["sampler"] == "grid" and told.keys() & {"space", "sampler"}  # another grid has other ones
    return tuning.tune(**dict(trials=None if points else given.trials) | fields)


if __name__ == "__main__":
    sweep.define()
    flags.DEFINE_multi_string("space", [], "KEY=VALUE,VALUE,... or KEY=LOW,HIGH,log (or linear, int); repeat for more")
    flags.DEFINE_integer("trials", None, "trials of every cell; by default 16, with --sampler=grid its points")
    flags.DEFINE_enum("sampler", "tpe", tuning.SAMPLERS, "how points of the space are drawn")
    flags.DEFINE_integer("tuning_seeds", tuning.SEEDS, "seeds of every trial, none of which is a final one")
    arguments.run(main)
