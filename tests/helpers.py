"""What several test files need: golden cases, parameters by name, a small graph."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph


def looked_at(a) -> np.ndarray:
    """An array as NumPy's; one that is being traced as it is."""
    return a if isinstance(a, jax.core.Tracer) else np.asarray(a)


def shown(said, name: str) -> np.ndarray:
    """The weights of the attention of that name in what a mechanism or a model returned."""
    (found,) = (a for a in said.attention if a.name == name)
    return looked_at(found.weights)


def state(said, name: str) -> np.ndarray:
    """The values of the tokens of that name in what a mechanism or a model returned."""
    (found,) = (s for s in said.states if s.name == name)
    return looked_at(found.values)


def small_graph(n: int = 7, num_edges: int = 18, seed: int = 0) -> Graph:
    """A random graph whose last node receives nothing."""
    rng = np.random.default_rng(seed)
    return Graph.create(rng.integers(0, n, num_edges), rng.integers(0, n - 1, num_edges), n)


def parameters(module: nnx.Module) -> dict[str, nnx.Variable]:
    """{dotted path: variable} of everything a module stores."""
    return {".".join(str(p) for p in path): variable for path, variable in nnx.to_flat_state(nnx.state(module))}


def assign(module: nnx.Module, values: dict[str, np.ndarray], *, partial: bool = False) -> nnx.Module:
    """Sets parameters by dotted path, in the dtype of the given arrays; returns the module.

    Raises:
        KeyError: a path the module does not have; or one of the module's that is not given, unless `partial`.
        ValueError: a shape that differs.
    """
    own = parameters(module)
    unexpected = sorted(set(values) - set(own))
    missing = sorted(set(own) - set(values))
    if unexpected or (missing and not partial):
        raise KeyError(f"unexpected: {unexpected}; missing: {missing}; the module has: {sorted(own)}")
    for path, value in values.items():
        value = np.asarray(value)
        if own[path].shape != value.shape:
            raise ValueError(f"{path}: shape {value.shape}, expected {own[path].shape}")
        target = module
        *parents, leaf = path.split(".")
        for part in parents:
            target = target[int(part)] if part.isdigit() else getattr(target, part)
        variable = target[int(leaf)] if leaf.isdigit() else getattr(target, leaf)
        variable.set_value(jnp.asarray(value))
    return module


def to_float64(module: nnx.Module) -> nnx.Module:
    """The same module with every float parameter in float64."""
    graphdef, state = nnx.split(module)

    def cast(a):
        return a.astype(jnp.float64) if jnp.issubdtype(a.dtype, jnp.floating) else a

    return nnx.merge(graphdef, jax.tree.map(cast, state))


def built(make: Callable[[], nnx.Module]) -> nnx.Module:
    """What `make` builds, in float64: its parameters are drawn and cast in one program."""
    found = []

    def draw():
        graphdef, state = nnx.split(to_float64(make()))
        found.append(graphdef)
        return state

    state = jax.jit(draw)()
    return nnx.merge(found[0], state)


def filled(make: Callable[[], nnx.Module], draw: Callable[[str, tuple[int, ...]], np.ndarray]) -> nnx.Module:
    """What `make` builds with draw(path, shape) in every variable; its own numbers are never computed."""
    module = nnx.eval_shape(make)
    for path, variable in parameters(module).items():
        variable.set_value(jnp.asarray(draw(path, variable.shape)))
    return module


def drawn(make: Callable[[], nnx.Module]) -> nnx.Module:
    """What `make` builds with numbers of N(0, 0.4^2) in every variable; variances and scales are 0.5 or more."""
    rng = np.random.default_rng(1)

    def draw(path, shape):
        value = 0.4 * rng.normal(size=shape)
        return 0.5 + np.abs(value) if path.endswith(("var", "scale")) else value

    return filled(make, draw)


@dataclasses.dataclass(frozen=True)
class _Form:
    """What is static of a module. Its hash is that of the class: some attributes are dicts, which have none."""

    kind: type
    graphdef: nnx.GraphDef = dataclasses.field(hash=False)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _called(function, form, state, args, kwargs):
    module = nnx.merge(form.graphdef, state, copy=True)
    return function(module, *args, **kwargs), nnx.state(module)


def run(module: nnx.Module, *args: Any, by: Callable | None = None, **kwargs: Any) -> Any:
    """module(*args, **kwargs), or by(module, *args, **kwargs), in one program instead of one for every operation.

    Modules, shapes and `by` that are alike share the program. What the call changes, as batch statistics, is changed.
    """
    graphdef, state = nnx.split(module)
    found, state = _called(by or type(module).__call__, _Form(type(module), graphdef), state, args, kwargs)
    nnx.update(module, state)
    return found


def linear(prefix: str, case: dict, weight: str, bias: str | None = None, *, transpose: bool = True) -> dict:
    """{prefix.kernel, prefix.bias} from golden arrays; PyTorch stores weights (out, in): transpose."""
    kernel = case[weight]
    out = {f"{prefix}.kernel": kernel.T if transpose else kernel}
    if bias is not None:
        out[f"{prefix}.bias"] = case[bias]
    return out


def prefixed(prefix: str, values: dict) -> dict:
    return {f"{prefix}.{k}": v for k, v in values.items()}


@contextlib.contextmanager
def counted_compilations():
    """Yields a list that grows by one with every XLA compilation inside the block."""
    seen: list[str] = []

    def listener(name: str, *args, **kwargs):
        if name == "/jax/core/compile/backend_compile_duration":
            seen.append(name)

    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
