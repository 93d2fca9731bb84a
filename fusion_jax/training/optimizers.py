"""The optimiser of a config: a factory of optax by its name."""

from __future__ import annotations

import inspect
from typing import Any

import optax

from fusion_jax.zoo import nearest


def make(
    name: str,
    learning_rate: float,
    *,
    options: dict[str, Any] | None = None,
    clip: float = 0.0,
    warmup: int = 0,
    decay: bool = False,
    epochs: int,
) -> optax.GradientTransformation:
    """`optax.<name>(schedule, **options)`, after clipping the gradient's global norm if `clip` > 0.

    The schedule rises linearly to `learning_rate` over `warmup` epochs, then is constant or falls as a cosine
    to 0 at `epochs`.

    Raises:
        ValueError: no such optimiser, or no such option of it.
    """
    options = dict(options or {})
    factories = [
        n for n, f in vars(optax).items()
        if inspect.isfunction(f) and "learning_rate" in inspect.signature(f).parameters
    ]  # fmt: skip
    if name not in factories:
        raise ValueError(f"no optimiser {name!r}{nearest(name, factories)}; expected a factory of optax")
    factory = getattr(optax, name)
    known = inspect.signature(factory).parameters
    for option in options:
        if option not in known:
            raise ValueError(f"optimiser {name!r} has no option {option!r}{nearest(option, known)}")
    schedule = learning_rate
    if decay:
        schedule = optax.cosine_decay_schedule(learning_rate, max(epochs - warmup, 1))
    if warmup:
        after = schedule if decay else optax.constant_schedule(learning_rate)
        schedule = optax.join_schedules([optax.linear_schedule(0.0, learning_rate, warmup), after], [warmup])
    tx = factory(schedule, **options)
    return optax.chain(optax.clip_by_global_norm(clip), tx) if clip else tx
