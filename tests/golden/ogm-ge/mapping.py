"""OGM-GE: scores of the modalities, their factors, and the gradients behind them."""

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.records import Batch, Output, Target
from fusion_jax.schemes.ogm_ge import alone_scores, coefficients, modulated


def modulation(case):
    names = ("a", "v")
    logits = {name: jnp.asarray(case[f"in/out_{name}"]) for name in names}
    rows, classes = logits["a"].shape

    def seen_alone(batch, context):
        """What the reference's linear head says of one modality."""
        (name,) = (n for m, n in enumerate(names) if bool(batch.mask[0, m]))
        return Output(logits[name], None, logits[name][:, None], None, batch.mask)

    batch = Batch({name: jnp.zeros((rows, 1)) for name in names}, jnp.ones((rows, 2), bool), None, names)
    target = Target("classes", labels=jnp.asarray(case["in/label"]), num_outputs=classes)
    scores = alone_scores(seen_alone, batch, target, jnp.ones(rows))
    factors = coefficients(scores, float(case["option/alpha"]))
    grads = {"encoders": {str(i): {"kernel": jnp.asarray(case[f"in/grad_{n}"])} for i, n in enumerate(names)}}
    scaled = modulated(grads, factors, None)["encoders"]
    noisy = modulated(grads, factors, jax.random.key(0))["encoders"]
    drawn = jax.random.split(jax.random.key(0), 2)
    for i, name in enumerate(names):
        yield f"score {name}", scores[i], case[f"out/score_{name}"]
        yield f"factor {name}", factors[i], case[f"out/coeff_{name}"]
        yield f"OGM {name}", scaled[str(i)]["kernel"], case[f"out/ogm_{name}"]
        noise = noisy[str(i)]["kernel"] - scaled[str(i)]["kernel"]
        unit = jax.random.normal(drawn[i], noise.shape, noise.dtype)
        yield f"deviation of the noise {name}", np.median(noise / unit), case[f"out/noise_{name}"]
