"""The flags by which several processes train as one machine (`fusion_jax.run.pod`), and who does what then.

python -m experiments.sweep --config=... --workdir=... --pod  # on every host of a TPU pod, under SLURM, Open MPI
python -m experiments.sweep --config=... --workdir=... --coordinator=HOST:PORT --processes=2 --process=0  # and =1
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from absl import flags

from fusion_jax import zoo
from fusion_jax.run import pod, signals
from fusion_jax.run.model import train_models
from fusion_jax.training.compilation import use_cache

from . import arguments, attend

FLAGS = flags.FLAGS
NAMES = ("coordinator", "processes", "process")
HERE = ("threads", "serial")  # engines that train in the process itself


def define() -> None:
    """The flags."""
    flags.DEFINE_bool("pod", False, "this is one of several processes that train as one machine, as JAX finds out")
    flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0, where JAX does not find it out")
    flags.DEFINE_integer("processes", None, "likewise: how many processes there are", lower_bound=1)
    flags.DEFINE_integer("process", None, "likewise: which of them this is, from 0", lower_bound=0)
    flags.DEFINE_integer("join_seconds", int(pod.COMING), "how long each process waits for the others", lower_bound=1)


def asked() -> bool:
    return FLAGS.pod or any(FLAGS[name].present for name in NAMES)


def run(command: Callable[[], None]) -> None:
    """The command, in process 0 of a pod or in a process by itself; in another process training along with it."""
    if not asked():
        command()
        return
    try:
        check_engine(FLAGS["engine"].value if "engine" in FLAGS else "")
        print(_waits(), file=sys.stderr, flush=True)
        own = pod.join(FLAGS.coordinator, FLAGS.processes, FLAGS.process, seconds=FLAGS.join_seconds)
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


def check_engine(engine: str) -> None:
    """Raises ValueError where the cells would be trained elsewhere than in the processes of the pod."""
    if engine in set(zoo.names("engine")) - set(HERE):
        raise ValueError(
            f"--engine={engine} sends every cell to a process of its own; --pod and --coordinator train each cell in "
            "all processes together: leave one of the two out"
        )


def _waits() -> str:
    """What is said before the wait for the other processes."""
    count = (FLAGS.processes or 1) - 1
    others = f"{count} other process{'es' * (count > 1)}" if count else "the other processes"
    whom = others if not FLAGS.process else f"process 0 at {FLAGS.coordinator} and all others"
    at = f" at {FLAGS.coordinator}" if FLAGS.coordinator and not FLAGS.process else ""
    return f"waits{at} for {whom}, {FLAGS.join_seconds} s at most (--join_seconds)"
