"""Tunes every cell of a study alike, on validation rows of seeds of their own, then trains what was chosen.

    python -m experiments.tune --config=configs/base.py:fusion=gmu --workdir=results/tuned
    python -m experiments.tune --config=configs/ablations/quickstart.py --workdir=results/tuned --trials=16 \
        --space optimizer.learning_rate=1e-4,3e-2,log --space model.rate=0,.2,.5

Without --space learning rate, dropout and weight decay are tuned as `fusion_jax/study/tuning.py` says. A study that
says itself how it is tuned is run by `experiments.sweep`, which has all other flags too. Needs the extra `tune`.
"""

from __future__ import annotations

from absl import flags

from fusion_jax.study import tuning

from . import arguments, sweep

FLAGS = flags.FLAGS


def main(argv):
    del argv
    try:
        budget = dict(trials=FLAGS.trials, sampler=FLAGS.sampler, seeds=FLAGS.tuning_seeds)
        asked = tuning.tune(arguments.space(FLAGS.space) if FLAGS.space else None, **budget)
    except ValueError as error:
        arguments.fail(error)
    sweep.sweep(asked)


if __name__ == "__main__":
    sweep.define()
    flags.DEFINE_multi_string("space", [], "KEY=VALUE,VALUE,... or KEY=LOW,HIGH,log (or linear, int); repeat for more")
    flags.DEFINE_integer("trials", None, "trials of every cell; by default 16, with --sampler=grid its points")
    flags.DEFINE_enum("sampler", "tpe", tuning.SAMPLERS, "how points of the space are drawn")
    flags.DEFINE_integer("tuning_seeds", tuning.SEEDS, "seeds of every trial, none of which is a final one")
    arguments.run(main)
