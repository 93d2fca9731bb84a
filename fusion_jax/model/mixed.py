"""A mixer put into mechanisms: which of their attentions are simple, whether it can stand there, and the call.

Whether it can is found out when the model is built: every mechanism runs once abstractly on a small graph, as it is and
with the mixer in it. No number is computed for that.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax import zoo
from fusion_jax.fusion.base import Fusion
from fusion_jax.graphs import Graph
from fusion_jax.mixers.base import Mixer, simple
from fusion_jax.nn.mixing import MARK, Building, Mixing
from fusion_jax.plan import MixerPlan
from fusion_jax.records import EVALUATION, Array, Context, Target, needs_of
from fusion_jax.structures.base import derive

PARTS = ("fusion", "layer")
NODES = 4  # of the graph on which mechanisms are tried
_SKIP: contextvars.ContextVar[bool] = contextvars.ContextVar("simple attentions are left out", default=False)
Make = Callable[[nnx.Rngs], nnx.Module]


@contextlib.contextmanager
def skipped() -> Iterator[None]:
    """Inside, models leave their simple attentions out: what these return is 0, and what stands around them stays.

    It is asked while a model is traced: a program that `jax.jit` has from outside is not traced anew inside.
    """
    before = _SKIP.set(True)
    try:
        yield
    finally:
        _SKIP.reset(before)


@dataclasses.dataclass(frozen=True)
class Fit:
    """How a mixer stands in the mechanisms of one part of a model, which are alike.

    Attributes:
        plan: the mixer.
        chosen: the numbers of the simple attentions of each mechanism, counted anew in it.
    """

    plan: MixerPlan
    chosen: tuple[frozenset[int], ...]


def fit(plan: MixerPlan, makes: list[Make], widths: list[int], modalities: int, target: Target) -> Fit:
    """Which attentions of the mechanisms that `makes` build become simple.

    Args:
        widths: of what each is given.
        modalities: M; 0 of graph layers.
    Raises:
        ValueError: the mixer cannot stand there, or none of the attentions would be simple; by name.
    """
    tried = [_tried(make, width, modalities, target) for make, width in zip(makes, widths, strict=True)]
    total, start, chosen = sum(one.count for one in tried), 0, []
    where = tried[0].where if tried else f"a model without a {plan.part}"
    if not total:
        raise ValueError(
            f"{where}: mixer {plan.name!r} has no attention to stand in: none here is by products of queries and keys "
            "(of nn.attention or nn.segment)"
        )
    numbers = simple(plan.layers, total)
    if not numbers:
        raise ValueError(f"{where}: layers={plan.layers!r} chooses none of its {total} attentions for {plan.name!r}")
    for one in tried:
        chosen.append(frozenset(i - start for i in numbers if start < i <= start + one.count))
        start += one.count
    found = Fit(plan, tuple(chosen))
    mixer = zoo.get("mixer", plan.name)
    for one, own, make, width in zip(tried, chosen, makes, widths, strict=True):
        if one.looped and (plan.layers != "uniform" or mixer.static or mixer.streams):
            raise ValueError(
                f"{one.where}: its attention {min(one.looped)} stands for several in a loop over layers, which mixer "
                f"{plan.name!r} with layers={plan.layers!r} has to tell apart"
            )
        if mixer.replaces and one.loose:
            raise ValueError(
                f"{one.where}: mixer {plan.name!r} replaces whole MultiHeadAttentions, and {one.loose} of the "
                f"{one.count} attentions here are none; the mixers that only weigh can stand there"
            )
        if own:
            _try(found, own, one, make, width, modalities, target)
    if mixer.static and not any(own - {1} for own in chosen):
        raise ValueError(
            f"{where}: mixer {plan.name!r} changes nothing in the first attention of a mechanism, and layers="
            f"{plan.layers!r} of {total} chooses no other"
        )
    return found


def build(found: Fit | None, i: int, make: Make, rngs: nnx.Rngs) -> nnx.Module:
    """The i-th mechanism of the part, with the mixer's own parameters where it has some."""
    if found is None or not zoo.get("mixer", found.plan.name).replaces or not found.chosen[i]:
        return make(rngs)
    everywhere = found.plan.layers == "uniform"
    with Building(None if everywhere else found.chosen[i]).inside():
        return make(rngs)


def make_mixer(plan: MixerPlan, modalities: int, width: int, rngs: nnx.Rngs) -> Mixer:
    return zoo.make("mixer", plan.name, max(modalities, 1), width, options=plan.options, rngs=rngs)


@contextlib.contextmanager
def mixed(mechanism: nnx.Module, mixer: Mixer, chosen: frozenset[int], again: Callable[[Any, Array], Any], x: Array):
    """Within it the mechanism's attentions weigh as the mixer says.

    Args:
        again: (mechanism, x) -> its call on another x, which a second stream goes through.
        x: [N, M, D] or [N, D], what the mechanism is given.
    """
    if not chosen:
        yield
        return
    where, stream = _where(mechanism), None
    if mixer.streams:
        tokens = mixer.sequence().astype(x.dtype)
        stream = _states(where, mechanism, again, tokens if x.ndim == 3 else tokens[0], x)
    with Mixing(where, mixer, chosen, stream=stream, skip=_SKIP.get()).inside():
        yield


def _states(where: str, mechanism: nnx.Module, again, tokens: Array, x: Array) -> list[tuple[Array, Array]]:
    """Queries and keys of every attention when the tokens go through the mechanism in evaluation."""
    copied = nnx.merge(*nnx.split(mechanism))  # running statistics of the mechanism's own stay what they are
    with Mixing(where).inside() as kept:
        if _by_node(mechanism):
            copied.node(tokens, jnp.ones(len(tokens), bool), EVALUATION)
        else:
            again(copied, jnp.broadcast_to(tokens, x.shape))
    return kept.seen


def _by_node(mechanism: nnx.Module) -> bool:
    """Whether it is written for one node: then one node is enough."""
    return isinstance(mechanism, Fusion) and type(mechanism).nodes is Fusion.nodes


def _where(mechanism: nnx.Module) -> str:
    return f"{'fusion' if isinstance(mechanism, Fusion) else 'layer'} {zoo.name_of(mechanism)!r}"


@dataclasses.dataclass(frozen=True)
class _Tried:
    """What was seen of a mechanism as it is: its attentions, those in loops, and those that are loose."""

    where: str
    count: int
    looped: frozenset[int]
    loose: int


def _tried(make: Make, width: int, modalities: int, target: Target) -> _Tried:
    abstract, given = _given(make, width, modalities, target)
    where = _where(abstract)
    seen: list[Mixing] = []

    def run(state, x):
        mechanism = nnx.merge(graphdef, state)
        with Mixing(where, marked=True).inside() as now:
            seen.append(now)
            called = _called(mechanism, x, given, alone=True)
        return jax.tree.leaves(called)

    graphdef, state = nnx.split(abstract)
    program = jax.make_jaxpr(run)(state, given.x)
    return _Tried(where, seen[-1].count, frozenset(_looped(program.jaxpr)), seen[-1].loose)


def _try(found: Fit, own: frozenset[int], one: _Tried, make: Make, width: int, modalities: int, target: Target) -> None:
    """Raises ValueError where a mechanism does not run with the mixer in it, and does without."""
    place = found.chosen.index(own)
    abstract, given = _given(functools.partial(build, found, place, make), width, modalities, target)
    graphdef, state = nnx.split(abstract)

    def run(state, x, key):
        mechanism = nnx.merge(graphdef, state)
        mixer = make_mixer(found.plan, modalities, width, nnx.Rngs(key))
        with mixed(mechanism, mixer, own, lambda m, x: _called(m, x, given), x):
            return jax.tree.leaves(_called(mechanism, x, given))

    try:
        jax.eval_shape(run, state, given.x, jax.random.key(0))
    except jax.errors.UnexpectedTracerError as error:
        raise ValueError(
            f"{one.where}: mixer {found.plan.name!r} keeps states of attentions, and those of this mechanism are "
            "inside of a loop or a map"
        ) from error
    except ValueError as error:
        if one.where in str(error):
            raise
        raise ValueError(f"{one.where}: mixer {found.plan.name!r} cannot stand in it: {error}") from error
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f"{one.where}: mixer {found.plan.name!r} cannot stand in it: it uses the projections of its attentions "
            f"by itself ({error})"
        ) from error


@dataclasses.dataclass(frozen=True)
class _Given:
    """What a mechanism is tried with."""

    x: jax.ShapeDtypeStruct
    graph: Graph
    context: Context


def _given(make: Make, width: int, modalities: int, target: Target) -> tuple[nnx.Module, _Given]:
    """The mechanism without numbers, and a ring of a few nodes with what it reads of it."""
    with jax.ensure_compile_time_eval():
        abstract = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
        ring, edges = np.arange(NODES), {k: np.ones(NODES, np.float32) for k in ("weight", "time")}

        def one(views=()):
            return Graph.create(ring, (ring + 1) % NODES, NODES, edges, views)

        made = one(tuple(one() for _ in range(modalities)) if "views" in needs_of(abstract) else ())
        graph = derive([made], abstract.structures, abstract.structures)[0]
        labels = Target("classes", labels=jnp.zeros(NODES, jnp.int32), num_outputs=target.num_outputs)
        told = Context(target=labels, train=jnp.ones(NODES, bool)).told(needs_of(abstract))
    shape = (NODES, modalities, width) if modalities else (NODES, width)
    return abstract, _Given(jax.ShapeDtypeStruct(shape, jnp.float32), graph, told)


def _called(mechanism: nnx.Module, x: Array, given: _Given, alone: bool = False) -> Any:
    if not isinstance(mechanism, Fusion):
        return mechanism(x, given.graph, jnp.ones(len(x), bool), given.context)
    if alone and _by_node(mechanism):  # not within the map over nodes, which is no loop of the mechanism's own
        return mechanism.node(x[0], jnp.ones(x.shape[1], bool), given.context)
    return mechanism(x, jnp.ones(x.shape[:2], bool), given.graph, given.context)


def _looped(program: Any, inside: bool = False) -> Iterator[int]:
    """The numbers of the marked attentions that a program has inside of loops."""
    for equation in program.eqns:
        loop = equation.primitive.name == "while" or equation.params.get("length", 1) > 1
        name = equation.params.get("name", "")
        if inside and equation.primitive.name == "name" and name.startswith(MARK):
            yield int(name.removeprefix(MARK))
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _looped(inner, inside or loop)
