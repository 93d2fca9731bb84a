"""Scores how much a class leans on a concept, layer by layer, with one concept vector for all layers.

Reference: He, Sinha, Xiong, Zhang, "GCAV: A Global Concept Activation Vector Framework for Cross-Layer Consistency
in Interpretability", ICCV 2025; code Zhenghao-He/GCAV, commit 7f95181. Golden `gcav`. TCAV, which it starts from:
Kim et al., "Interpretability Beyond Feature Attribution", ICML 2018.

Layers are the states of one trained model (`taps`), concepts sets of nodes given by a rule (`concepts`).
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from flax import nnx
from scipy import stats
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

from fusion_jax.analysis.base import Report
from fusion_jax.analysis.gcav import modules
from fusion_jax.analysis.gcav.concepts import LEAST, concept, known_labels, label
from fusion_jax.analysis.gcav.report import RANDOM, report
from fusion_jax.analysis.gcav.taps import gradients, states
from fusion_jax.records import Info
from fusion_jax.results.restore import Restored
from fusion_jax.training.compilation import own_settings

INFO = Info(
    "He et al., GCAV: A Global Concept Activation Vector Framework",
    2025,
    pinned="authors' code",
    golden="gcav",
    cost="O(nodes of the class) backward passes, and small networks of width E",
)
OF = "cell"
NOISY, NOISE = 100, 0.1  # noisy copies of a concept vector, and their deviation in units of the vector's own


@own_settings()
def gcav(
    cell: Restored,
    place: int,
    *,
    concepts: tuple[str, ...] = ("degree",),
    target: str = "",
    repeats: int = 10,
    examples: int = 100,
    regularisation: float = 0.1,
    epochs: int = 30,
    steps: int = 1000,
    fusion_epochs: int = 30,
    seed: int = 0,
) -> Report:
    """TCAV and TGCAV of concepts for one class, over the layers of one seed's model.

    The widths of the paper (2048 in common, 4096 hidden, for images) become the largest layer's width E and 2 E.

    The report's table "layers" has a row a concept and layer: cav_accuracy (of the linear classifiers on nodes they did
    not see), reconstruction (cosine of what the autoencoder makes of the layer's vectors), tcav, tcav_std, tgcav,
    tgcav_std (mean and deviation over the repeats), p_tcav (t-test against random concepts; the repeats of TGCAV are
    not independent, and have none); the concept "random" holds those. "summary" has a row a concept and score ("tcav"
    or "tgcav"): mean, std, cv = std / mean and range_ratio = (max - min) / mean over the layers. Facts: target (the
    class's name), examples (how many of its nodes were looked at) and left_out (layers that the class's loss does not
    depend on).

    Args:
        place: which stored seed.
        concepts: rules, see `concepts`: missing:<modality>, degree (top decile), label:<class>.
        target: the class, a name or number; "" for the one with most nodes.
        repeats: R >= 2, concept vectors a layer, each against another set of random nodes.
        examples: nodes of the class, and of a concept, at most.
        regularisation: of the linear classifiers.
        epochs: of the autoencoders. steps: of the alignment. fusion_epochs: of the fusion.
        seed: of everything random here.
    Raises:
        ValueError: not a node classification cell, no concept, one named twice, fewer than two repeats, a bad
            rule, a concept or class with too few nodes.
    """
    if cell.data.target.words != "classes of nodes":
        raise ValueError(f"gcav looks at the classes of nodes; this cell predicts {cell.data.target.words}")
    if not concepts or len(set(concepts)) != len(concepts):
        raise ValueError(f"gcav: concepts={list(concepts)}, expected one or more different ones")
    if repeats < 2:
        raise ValueError(f"gcav: repeats={repeats}, expected at least 2: one vector has no spread")
    given = dict(examples=examples, epochs=epochs, steps=steps, fusion_epochs=fusion_epochs)
    for option, value in given.items():
        if value < (least := LEAST if option == "examples" else 1):
            raise ValueError(f"gcav: {option}={value}, expected at least {least}")
    sets = {rule: concept(cell, rule, place) for rule in concepts}
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    chosen = _target(cell, target)
    nodes = _sample(rng, np.flatnonzero(known_labels(cell) == chosen), examples, f"class {chosen}")
    model, batch = cell.models[place], cell.batch(place)
    found, grads = states(model, batch), gradients(model, batch, nodes, chosen)
    # A node that lacks a modality has gradient 0 at its encoding: it says nothing there.
    grads = {layer: g[np.abs(g).max(1) > 0] for layer, g in grads.items()}
    left_out = tuple(layer for layer, g in grads.items() if not len(g))
    layers = [layer for layer in grads if layer not in left_out]
    vectors, accuracy = _vectors(rng, {n: found[n] for n in layers}, sets, repeats, examples, regularisation)
    slopes = [jnp.asarray(grads[n]) for n in layers]
    coders, codes, similar = _autoencode(rng, key, vectors, epochs)
    decoders = [coder.decoder for coder in coders]
    names, scores = [*sets, RANDOM], {}
    for k, name in enumerate(names):
        own_key = jax.random.fold_in(key, 1000 + k)
        aligned = _align(own_key, codes, k, steps)
        fused = _fuse(rng, own_key, aligned, decoders, slopes, fusion_epochs)
        local = [modules.tcav(g, v[k]) for g, v in zip(slopes, vectors, strict=True)]
        joint = [modules.tcav(g, d(fused)) for g, d in zip(slopes, decoders, strict=True)]
        scores[name] = dict(tcav=np.asarray(jnp.stack(local)), tgcav=np.asarray(jnp.stack(joint)))  # [L, R]
    table = _table(names, layers, scores, accuracy, similar)
    summary = _summary(table)
    name = cell.data.class_names[chosen] if cell.data.class_names else str(chosen)
    return report(table, summary, name, len(nodes), left_out)


def _target(cell: Restored, target: str) -> int:
    labels = known_labels(cell)
    return label(cell, target, f"gcav: target={target!r}") if target else int(np.bincount(labels[labels >= 0]).argmax())


def _sample(rng: np.random.Generator, nodes: np.ndarray, most: int, what: str) -> np.ndarray:
    if len(nodes) < LEAST:
        raise ValueError(f"{what} has {len(nodes)} nodes, at least {LEAST} are needed")
    return np.sort(rng.permutation(nodes)[:most])


def concept_vector(
    inside: np.ndarray, outside: np.ndarray, regularisation: float, seed: int
) -> tuple[np.ndarray, float]:
    """The normal [d] of a linear classifier, pointing into the concept, and its accuracy on a third it did not see."""
    x = np.concatenate([inside, outside])
    y = np.repeat([1, 0], [len(inside), len(outside)])
    fit, held, fit_y, held_y = train_test_split(x, y, test_size=1 / 3, stratify=y, random_state=seed)
    model = SGDClassifier(alpha=regularisation, random_state=seed).fit(fit, fit_y)
    return model.coef_[0].astype(np.float32), float(model.score(held, held_y))


def _vectors(rng, found: dict[str, np.ndarray], sets: dict[str, np.ndarray], repeats: int, most: int, reg: float):
    """Concept vectors, a list of [K, R, d_l] over the layers, and accuracies [K, L]; the last concept is random."""
    pairs = []  # one list of (inside, outside) a concept
    for mask in sets.values():
        size = min(mask.sum(), (~mask).sum(), most)
        inside = rng.permutation(np.flatnonzero(mask))[:size]
        pairs.append([(inside, rng.permutation(np.flatnonzero(~mask))[:size]) for _ in range(repeats)])
    total = len(next(iter(sets.values())))
    size = min(min(len(p[0][0]) for p in pairs), total // 2)
    draws = (rng.permutation(total) for _ in range(repeats))
    pairs.append([(d[:size], d[size : 2 * size]) for d in draws])
    vectors, accuracy = [], np.zeros((len(pairs), len(found)))
    for l, x in enumerate(found.values()):
        fits = [[concept_vector(x[a], x[b], reg, r) for r, (a, b) in enumerate(p)] for p in pairs]
        vectors.append(jnp.asarray(np.stack([[v for v, _ in p] for p in fits])))
        accuracy[:, l] = [np.mean([a for _, a in p]) for p in fits]
    return vectors, accuracy


def fit(module: nnx.Module, loss: Callable, tx: optax.GradientTransformation, data: Any, steps: int, key) -> Any:
    """The module after `steps` of loss(module, data, step from 0, key); one program for all data of one shape."""
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)
    return nnx.merge(graphdef, _fit(graphdef, loss, tx, steps, params, rest, data, key), rest)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _fit(graphdef, loss, tx, steps, params, rest, data, key):
    def objective(params, step):
        module = nnx.merge(graphdef, params, rest, copy=True)
        return loss(module, data, step, jax.random.fold_in(key, step))

    def one(carry, step):
        params, state = carry
        updates, state = tx.update(jax.grad(objective)(params, step), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(one, (params, tx.init(params)), jnp.arange(steps))[0][0]


def minibatches(rng: np.random.Generator, n: int, size: int, epochs: int) -> jax.Array:
    """The rows of every step [steps, size]: epochs of a shuffled order in slices, the last filled from its start."""
    whole = -(-n // size) * size
    return jnp.asarray(np.concatenate([np.resize(rng.permutation(n), whole) for _ in range(epochs)]).reshape(-1, size))


ADAM, ADAMW, SLOW_ADAM = optax.adam(1e-3), optax.adamw(1e-3, weight_decay=0.01), optax.adam(5e-4)


def _autoencode(rng, key, vectors: list[jax.Array], epochs: int):
    """An autoencoder a layer; codes [L, K, R, E]; the mean cosine of reconstructions [K, L]."""
    width = max(v.shape[-1] for v in vectors)
    coders, codes, similar = [], [], []
    for l, v in enumerate(vectors):
        init, noise, drop = jax.random.split(jax.random.fold_in(key, l), 3)
        flat = v.reshape(-1, v.shape[-1])
        spread = NOISE * flat.std(1)[:, None, None]
        noisy = flat[:, None] + spread * jax.random.normal(noise, (len(flat), NOISY, flat.shape[1]))
        rows = jnp.concatenate([flat, noisy.reshape(-1, flat.shape[1])])
        picks = minibatches(rng, len(rows), 16, epochs)
        coder = modules.Autoencoder(v.shape[-1], 2 * width, width, rngs=nnx.Rngs(init))
        coder = fit(coder, _autoencoder_loss, ADAM, (rows, picks), len(picks), drop)
        coders.append(coder)
        again, code = coder(v)
        codes.append(code)
        similar.append(modules.cosine(again, v).mean(1))
    return coders, jnp.stack(codes), np.stack(similar, axis=1)


def _autoencoder_loss(coder, data, step, key):
    rows, picks = data
    batch = rows[picks[step]]
    return modules.reconstruction_loss(coder(batch, key=key)[0], batch)


def _align(key, codes: jax.Array, k: int, steps: int) -> jax.Array:
    """Aligned codes [L, R, E] of concept k."""
    layers, concepts, _, width = codes.shape
    others = codes[:, np.array([c for c in range(concepts) if c != k])].reshape(layers, -1, width)
    module = modules.Alignment(width, 2 * width, rngs=nnx.Rngs(jax.random.fold_in(key, 0)))
    return fit(module, _alignment_loss, ADAMW, (codes[:, k], others), steps, jax.random.fold_in(key, 1))(codes[:, k])


def _alignment_loss(module, data, step, key):
    """Anchors are all codes of the concept; the positive is of the mirrored layer (a middle layer is its own),
    negatives are the other concepts' codes of the same layer."""
    del step
    own, others = data  # [L, R, E], [L, n, E]
    layers, repeats, width = own.shape
    pick, *drop = jax.random.split(key, 4)
    partner = jax.random.randint(pick, (layers, repeats, 1), 0, repeats)
    positives = jnp.take_along_axis(own[::-1], partner, axis=1).reshape(-1, width)
    after = [module(x, key=d) for x, d in zip((own.reshape(-1, width), positives, others), drop, strict=True)]
    after[2] = jnp.repeat(after[2], repeats, axis=0)
    return modules.alignment_loss(after, (own.reshape(-1, width), positives))


def _fuse(rng, key, aligned: jax.Array, decoders: list, slopes: list[jax.Array], epochs: int) -> jax.Array:
    """Fused codes [R, E] of the aligned ones [L, R, E]; the decoders stay as they are."""
    x = aligned.swapaxes(0, 1)
    repeats, layers, width = x.shape
    heads = math.gcd(width, 4)
    module = modules.TransformerFusion(width, layers, heads=heads, rngs=nnx.Rngs(jax.random.fold_in(key, 2)))
    picks = minibatches(rng, repeats, min(4, repeats), epochs)
    data = (x, picks, decoders, slopes)
    return fit(module, _fusion_loss, SLOW_ADAM, data, len(picks), jax.random.fold_in(key, 3))(x)


def _fusion_loss(module, data, step, key):
    x, picks, decoders, slopes = data
    codes = x[picks[step]]
    # the slope of the soft score grows with every call, the first is the first step's
    return modules.fusion_loss(codes, module(codes, key=key), decoders, slopes, modules.temperature(step + 1.0))


def _table(names, layers, scores, accuracy, similar) -> pd.DataFrame:
    rows = []
    for k, name in enumerate(names):
        for l, layer in enumerate(layers):
            row = dict(concept=name, layer=layer, cav_accuracy=accuracy[k, l], reconstruction=similar[k, l])
            for kind in ("tcav", "tgcav"):
                own, chance = scores[name][kind][l], scores[RANDOM][kind][l]
                row |= {kind: own.mean(), f"{kind}_std": own.std()}
                if kind == "tcav":
                    row["p_tcav"] = np.nan if name == RANDOM else t_test(own, chance)
            rows.append(row)
    return pd.DataFrame(rows)


def t_test(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided p of equal means; 1 or 0 where neither sample has spread and the statistic is 0 / 0 or infinite."""
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return float(a[0] == b[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one sample without spread is no trouble
        return float(stats.ttest_ind(a, b).pvalue)


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for name, group in table.groupby("concept", sort=False):
        for kind in ("tcav", "tgcav"):
            s = group[kind].to_numpy()
            mean = s.mean()

            def relative(v, mean=mean):
                return v / mean if mean else np.nan

            rows.append(
                dict(
                    concept=name,
                    score=kind,
                    mean=mean,
                    std=s.std(),
                    cv=relative(s.std()),
                    range_ratio=relative(np.ptp(s)),
                )
            )
    return pd.DataFrame(rows)
