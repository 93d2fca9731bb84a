"""The flags by which several processes train as one machine (`fusion_jax.run.pod`), and who does what then.

python -m experiments.sweep --config=... --workdir=... --pod  # on every host of a TPU pod, under SLURM, Open MPI
python -m experiments.sweep --config=... --workdir=... --coordinator=HOST:PORT --processes=2 --process=0  # and =1
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from absl import flags

from fusion_jax.run import pod, signals
from fusion_jax.run.model import train_models
from fusion_jax.training.compilation import use_cache

from . import arguments, attend

FLAGS = flags.FLAGS
NAMES = ("coordinator", "processes", "process")


def define() -> None:
    """The flags."""
    flags.DEFINE_bool("pod", False, "this is one of several processes that train as one machine, as JAX finds out")
    flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0, where JAX does not find it out")
    flags.DEFINE_integer("processes", None, "likewise: how many processes there are", lower_bound=1)
    flags.DEFINE_integer("process", None, "likewise: which of them this is, from 0", lower_bound=0)


def asked() -> bool:
    return FLAGS.pod or any(FLAGS[name].present for name in NAMES)


def run(command: Callable[[], None]) -> None:
    """The command, in process 0 of a pod or in a process by itself; in another process training along with it."""
    if not asked():
        command()
        return
    try:
        own = pod.join(FLAGS.coordinator, FLAGS.processes, FLAGS.process)
    except ValueError as error:
        arguments.fail(error)
    except TimeoutError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(2)
    if own.index:
        use_cache()
        print(f"process {own.index} of {own.count} trains along with process 0", file=sys.stderr, flush=True)
        try:
            status = pod.follow(own, lambda plans, data, prepared, told: train_models(plans, data, prepared, told=told))
        except KeyboardInterrupt:
            os._exit(signals.INTERRUPTED)  # as experiments.sweep
        sys.exit(status)
    with pod.leading(own):
        attend(sys.exit)  # the others are told
        command()
