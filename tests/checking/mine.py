"""Files of a user's own mechanisms, written for a test: right ones, to be broken in one place."""

from __future__ import annotations

import pathlib

RIGHT = {
    "fusion": '''
"""A fusion for this test."""
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.dropout import dropout
from fusion_jax.records import Fused, Info

class Mine(Fusion):
    info = Info("Nobody, A paper")
    placements = ("before", "interleaved")

    def __init__(self, modalities, dim, *, rate=0.0, rngs):
        self.linear, self.rate = nnx.Linear(dim, dim, rngs=rngs), rate

    def nodes(self, x, mask, graph, context):
        h = jnp.where(mask[..., None], self.linear(dropout(x, self.rate, context.key)), 0)
        return Fused(h.sum(1), tokens=h)
''',
    "layer": '''
"""A layer for this test."""
import jax.numpy as jnp
import numpy as np
from flax import nnx
from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.presence import zero_absent
from fusion_jax.nn.segment import propagate
from fusion_jax.records import EVALUATION, Info

class Mine(GraphLayer):
    info = Info("Nobody, A paper", needs=("graph",))

    def __init__(self, dim, out=None, *, rngs):
        self.linear = nnx.Linear(dim, dim if out is None else out, rngs=rngs)

    def __call__(self, x, graph, present=None, context=EVALUATION):
        return self.linear(propagate(zero_absent(x, present), graph))
''',
    "encoder": '''
"""An encoder for this test."""
import jax.numpy as jnp
from flax import nnx
from fusion_jax.encoders.base import Encoder
from fusion_jax.nn.segment import propagate
from fusion_jax.records import EVALUATION, Info

class Mine(Encoder):
    info = Info("Nobody, A paper")

    def __init__(self, in_dim, dim, *, rngs):
        self.linear = nnx.Linear(in_dim, dim, rngs=rngs)

    def __call__(self, x, graph=None, present=None, context=EVALUATION):
        return self.linear(x)
''',
    "readout": '''
"""A readout for this test."""
import jax.numpy as jnp
from fusion_jax.readouts.base import Readout
from fusion_jax.records import EVALUATION, Info, Read

class Mine(Readout):
    info = Info("Nobody, A paper")

    def __init__(self, dim, layers, *, rngs):
        del dim, layers, rngs

    def __call__(self, history, graph, context=EVALUATION):
        return Read(history.mean(1))
''',
    "loss": '''
"""A loss for this test."""
import jax
import jax.numpy as jnp
from fusion_jax.losses.base import weighted_mean
from fusion_jax.records import Info

INFO = Info("Nobody, A paper")

def mine(output, target, weight, *, context, power=1.0):
    p = jnp.take_along_axis(jax.nn.log_softmax(output.prediction), target.labels[:, None], axis=-1)[:, 0]
    return weighted_mean(-power * p, weight)
''',
    "control": '''
"""A control for this test."""
import numpy as np
from fusion_jax.controls.base import Control
from fusion_jax.records import Info

class Mine(Control):
    info = Info("Nobody, A paper")

    def predict(self, x, labels, split, graph, classes, seed):
        return np.tile(np.log(np.bincount(labels[split.train], minlength=classes) + 1.0), (len(x), 1))
''',
    "mixer": '''
"""A mixer for this test."""
import jax.numpy as jnp
import numpy as np
from fusion_jax.mixers.base import Mixer
from fusion_jax.records import Info

class Mine(Mixer):
    info = Info("Nobody, A paper")

    def weights(self, keys, q, k, scale, bias):
        return keys.share(1 + keys.pair(q, k) ** 2)
''',
    "scheme": '''
"""A scheme for this test."""
import dataclasses
from fusion_jax.records import Info
from fusion_jax.schemes.base import Scheme, Stage

class Mine(Scheme):
    info = Info("Nobody, A paper")

    def __init__(self, *, factor=0.9):
        self.factor = factor

    def transform(self, batch, key):
        return dataclasses.replace(batch, features={k: self.factor * x for k, x in batch.features.items()})
''',
}


def write(folder: pathlib.Path, kind: str, *changes: tuple[str, str]) -> str:
    """The path of `mine.py` in the folder: the right file of a kind with texts changed into others."""
    text = RIGHT[kind]
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)
