"""Several JAX processes that train as one machine, as the hosts of a TPU pod do: the seeds lie on the devices of all.

Every process is started by the same command. Process 0 does what it would do alone: it reads the folder, locks, saves,
stores, reports. Before it trains it says which plans and seeds; the others do nothing but listen, prepare the same
arrays and run the same programs on their own devices. What a clock or a file decides (the save that training goes on
from, the epochs of a chunk, whether to stop) process 0 decides for all.

What is said are small texts of JSON in the store of keys that JAX's processes share, in order of their numbers. The
processes read the same data, mechanisms and saves by the same paths. What goes wrong in one of them before all have
compiled fails the cell in process 0; where one dies behind that, JAX ends the others, and the same command goes on from
the last save, as behind any kill.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import jax
from etils import epath

from fusion_jax import plan as plans_of_config
from fusion_jax import zoo
from fusion_jax.data import load
from fusion_jax.plan import Plan
from fusion_jax.results.environment import environment
from fusion_jax.training import programs, stopping
from fusion_jax.training.checkpoint import Partial, saved_state
from fusion_jax.training.compilation import own_settings
from fusion_jax.training.prepare import prepare

SPACE = "fusion_jax"  # what the keys begin with
COMING = 300.0  # seconds in which all processes are there
WAIT = 2.0  # seconds between two looks of who listens whether a signal has come

Follow = Callable[[Sequence[Plan], Any, Any, Collection[str]], Any]  # trains along; `run.model.train_models`


@dataclasses.dataclass
class Pod:
    """What this process and the others say to each other.

    Attributes:
        index, count: which process this is, of how many.
        place: the number of the next message.
        training: the number of the message that began the training of the moment.
        ready: whether this process has said that it has compiled.
        busy: one training at a time, whatever the threads.
    """

    index: int
    count: int
    place: int = 0
    training: int = 0
    ready: bool = False
    busy: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def say(self, **message: Any) -> None:
        """To all others; process 0 does."""
        if "plans" in message:
            self.training = self.place
        _client().key_value_set(f"{SPACE}/said/{self.place}", json.dumps(message))
        self.place += 1

    def hear(self) -> dict[str, Any]:
        """The next message of process 0, waited for."""
        message = json.loads(_waited(f"{SPACE}/said/{self.place}"))
        if "plans" in message:
            self.training, self.ready = self.place, False
        self.place += 1
        return message

    def answer(self, problem: str = "") -> None:
        """Tells process 0 that this one has compiled, or why it cannot train along."""
        self.ready = True
        _client().key_value_set(f"{SPACE}/answer/{self.training}/{self.index}", problem)

    def check_answers(self) -> None:
        """Waits until all others have compiled. Raises ValueError where one cannot train along; says why."""
        for index in range(1, self.count):
            if problem := _waited(f"{SPACE}/answer/{self.training}/{index}"):
                raise ValueError(f"process {index} of {self.count} cannot train along: {problem}")

    def ask(self, number: int) -> None:
        """Tells process 0 that this one has been sent a signal."""
        _client().key_value_set(f"{SPACE}/signal/{self.index}", str(int(number)), allow_overwrite=True)

    def asked(self) -> int | None:
        """A signal that another process has been sent."""
        found = _client().key_value_dir_get(f"{SPACE}/signal/")
        return int(found[0][1]) if found else None


class Left(Exception):
    """Process 0 has left the training that this process follows."""


_POD: list[Pod] = []  # the one that this process is of


def _client() -> Any:
    from jax._src import distributed  # JAX has no public name for it; its own utilities and Orbax's take it so

    return distributed.global_state.client


def _waited(key: str) -> str:
    """What stands under a key, when it does; signals are taken in between."""
    while True:
        try:
            return _client().blocking_key_value_get(key, int(WAIT * 1000))
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise


def join(address: str = "", count: int | None = None, index: int | None = None, *, seconds: float = COMING) -> Pod:
    """Makes this process one of a pod's. It must be the first thing that JAX is used for.

    Args:
        address: HOST:PORT at which process 0 listens; "" where JAX finds it out by itself (a TPU pod, SLURM, Open MPI).
        count, index: how many processes there are, and which this is; likewise.
        seconds: in which all have to be there.
    Raises:
        ValueError: no such pod can be joined; says what is missing.
        TimeoutError: not all have come within that time. The attempt goes on, and JAX may abort a process that
            ends in an orderly way then: end it by `os._exit`.
    """
    host, colon, port = address.rpartition(":")
    if address and not (host and colon and port.isdecimal() and 0 < int(port) < 2**16):
        raise ValueError(f"no pod of processes can be joined: --coordinator={address}; expected HOST:PORT")
    # SIGTERM is `signals`' and `follow`'s: where JAX has heard it first, nothing comes of it
    jax.config.update("jax_enable_preemption_service", False)
    found: Future = Future()
    # In a thread, since neither signals nor the time reach one that waits there; JAX itself ends in an abort.
    threading.Thread(target=_initialize, args=(found, seconds, address or None, count, index), daemon=True).start()
    try:
        found.result(seconds)
    except TimeoutError:
        raise TimeoutError(
            f"no pod of processes can be joined: not all have come to {address or 'the coordinator'} within "
            f"{seconds:g} s; expected one process for each --process from 0 to {(count or 2) - 1}, and process 0 at "
            "that address"
        ) from None
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(
            f"no pod of processes can be joined ({' '.join(str(error).split())[:300]}); outside of a TPU pod, SLURM or "
            "Open MPI say --coordinator=HOST:PORT --processes=COUNT --process=INDEX in each"
        ) from error
    _POD[:] = [Pod(jax.process_index(), jax.process_count())]
    return _POD[0]


def _initialize(found: Future, seconds: float, *told: Any) -> None:
    try:
        # JAX itself gives up later, with an abort
        found.set_result(jax.distributed.initialize(*told, initialization_timeout=int(2 * seconds) + 1))
    except BaseException as error:  # for whoever waits
        found.set_exception(error)


def joined() -> Pod | None:
    """The pod that this process is of; None where it is by itself."""
    return _POD[0] if _POD else None


def seated(seeds: int) -> list[jax.Device]:
    """The devices of so many seeds: of every process as many, those of a process beside each other."""
    ranks: dict[int, int] = {}
    ranked = []
    for device in jax.devices():
        rank = ranks[device.process_index] = ranks.get(device.process_index, -1) + 1
        ranked.append((rank, device.process_index, device))
    taken = sorted(ranked, key=lambda found: found[:2])[:seeds]
    return [device for _, _, device in sorted(taken, key=lambda found: (found[1], found[0]))]


@contextlib.contextmanager
def leading(pod: Pod) -> Iterator[None]:
    """Around all that process 0 does: the others are let go behind it."""
    status = 1
    try:
        yield
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1 if error.code else 0
        raise
    finally:
        pod.say(end=status)


@contextlib.contextmanager
def together(
    plans: Sequence[Plan], data: Any, seeds: Sequence[int], told: Collection[str], partial: Partial | None, hooks: dict
) -> Iterator[dict[str, Any]]:
    """What `loop.train` is told where the pod trains: on which devices, and hooks by which all do the same.

    Args:
        hooks: `restore` and `at_border` of a process by itself. They come back as they are where there is no pod, and
            where there are fewer seeds than processes, or the data lie in memory: then process 0 trains alone.
    """
    pod, total = joined(), len(plans) * len(seeds)
    if pod is None or total < pod.count or any(plan.data.name.startswith(zoo.MEMORY) for plan in plans):
        yield hooks if pod is None else hooks | dict(at_border=functools.partial(_border, pod, hooks["at_border"]))
        return
    devices = dict(devices=seated(total))
    if pod.index:
        hears = {"restore": "saved", "agreed": "count", "at_border": "border"}
        yield devices | {hook: functools.partial(_heard, pod, kind) for hook, kind in hears.items()}
        return
    with pod.busy:
        own = [dataclasses.asdict(plan) for plan in plans]
        pod.say(plans=own, seeds=list(seeds), data=data.fingerprint, told=list(told), made_with=_made_with())
        try:
            yield devices | dict(_led(pod, partial, **hooks))
        except BaseException:
            pod.say(left=True)
            raise


def _led(pod: Pod, partial: Partial | None, *, at_border: Callable, restore: Callable = lambda state: None) -> dict:
    """The hooks of process 0, which say what they do."""

    def restored(state):
        found = restore(state)
        pod.say(saved="" if found is None else os.fspath(partial.folder / partial.mine))
        return found

    def agreed(count: int) -> int:
        if not count:
            pod.check_answers()
        pod.say(count=count)
        return count

    def border(state, history):
        _border(pod, at_border, state, history)
        pod.say(border=True)

    return dict(restore=restored, agreed=agreed, at_border=border)


def _border(pod: Pod, at_border: Callable, *given: Any) -> None:
    """A border in process 0, where a signal that another process has been sent counts as if it had come here."""
    if (number := pod.asked()) is not None and not stopping.is_asked():
        os.kill(os.getpid(), number)
        stopping.ask()
    at_border(*given)


def _heard(pod: Pod, kind: str, own: Any, *more: Any) -> Any:
    """What a hook of another process returns: what process 0 says of that kind.

    Raises:
        Left: process 0 says something else.
    """
    del more
    if kind == "count" and not own:
        pod.answer()
    message = pod.hear()
    if kind not in message:
        pod.place -= 1  # it is for whoever listens for the next training
        raise Left
    if kind == "saved":
        return saved_state(epath.Path(message[kind]), own)[:2] if message[kind] else None
    return message[kind]


@zoo.held()
@programs.held()
def follow(pod: Pod, train: Follow) -> int:
    """Trains along until process 0 ends; returns its exit status.

    Args:
        train: called with plans, data, what is prepared, and what is told in numbers, of every training.
    Raises:
        Exception: whatever training raises behind the compiler, which ends the pod; but that memory does not suffice,
            which process 0 finds as well, and tries fewer seeds at a time.
    """
    heard = _passed_on(pod)
    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    held: dict[str, Any] = {}  # the data set that was used last
    try:
        while True:
            message = pod.hear()
            if "end" in message:
                return message["end"]
            if "plans" not in message:
                continue
            try:
                with own_settings():
                    _train(message, held, train)
            except Left:
                pass
            except (Exception, SystemExit) as error:
                if pod.ready and "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                if not pod.ready:
                    pod.answer(f"{type(error).__name__}: {error}")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _made_with() -> dict[str, str]:
    """What decides how numbers are computed besides the plan and the devices."""
    found = environment()
    flat = {f"{key}.{name}": v for key in ("versions", "flags") for name, v in found[key].items()}
    return {name: str(value) for name, value in {**flat, "revision": found["git_revision"]}.items()}


def _train(message: dict[str, Any], held: dict[str, Any], train: Follow) -> None:
    """Trains along.

    Raises:
        ValueError: packages, flags, revision or data are not those of process 0; names them. Whatever training raises.
    """
    here = _made_with()
    for name, value in message["made_with"].items():
        if value != here.get(name):
            raise ValueError(f"{name}: {here.get(name)!r} here, {value!r} in process 0; expected the same")
    plans = [plans_of_config.of(config) for config in message["plans"]]
    part = plans[0].data
    if message["data"] not in held:
        found = load(part.name, **part.options)
        if found.fingerprint != message["data"]:
            raise ValueError(
                f"data set {part.name!r} is another one here ({found.fingerprint[:12]}) than in process 0 "
                f"({message['data'][:12]}); expected the same files"
            )
        held.clear()
        held[message["data"]] = found
    data = held[message["data"]]
    train(plans, data, prepare(part, data, message["seeds"], **plans[0].preparing), message["told"])


def _passed_on(pod: Pod) -> Callable[[int, object], None]:
    """The first signal is told to process 0, which stops all; Ctrl-C behind one ends this process at once."""
    received = []

    def heard(number: int, frame: object) -> None:
        del frame
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        pod.ask(number)

    return heard
