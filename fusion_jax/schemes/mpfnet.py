"""Two encoders trained on different priors, one after the other, then fused by their similarity to class means.

Reference: "MPFNet: A Multi-Prior Fusion Network with a Progressive Training Strategy for Micro-Expression
Recognition", 2025; code Mac0504/MPFNet at 9288094. The released scripts do not run, and where they would they average
all classes into one prototype, cut the gradient at the similarities and apply softmax twice: the stages follow what
they are meant to do. Golden `mpfnet`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.losses.base import weighted_mean
from fusion_jax.losses.triplet import triplet
from fusion_jax.nn.attention import masked_softmax
from fusion_jax.nn.init import zeros
from fusion_jax.nn.prototypes import Episode, class_means, cosine, episode
from fusion_jax.nn.segment import propagate
from fusion_jax.records import EVALUATION, Array, Attention, Batch, Context, Info, Output, Target
from fusion_jax.schemes.base import Make, Scheme, Stage
from fusion_jax.zoo import nearest

FORMS = ("parallel", "cascaded")


class TwoEncoders(nnx.Module):
    """logits = W d + b, d_c the similarity of a node to class c, W = I and b = 0 at the start.

        parallel  d_c = cos(f_G(x), w_c^G) + gamma cos(f_A(x), w_c^A)
        cascaded  d_c = cos(f_A([x; f_G(x)]), w_c^A), f_G(x) beside the features of every modality

    f is the state [N, F] a model's head reads, w_c its mean over the training rows of class c. Evaluation uses the
    means stored in `prototypes` [2, C, F] (generic, advanced).

    Args:
        generic, advanced: models; in the cascaded form the advanced one takes features wider by F.
        classes, width: C and F.
        form, gamma: see above.
    """

    def __init__(self, generic, advanced, classes: int, width: int, *, form: str = "parallel", gamma: float = 0.1):
        self.generic, self.advanced = generic, advanced
        self.weight, self.bias = nnx.Param(jnp.eye(classes, dtype=jnp.float32)), zeros((classes,))
        self.prototypes = nnx.BatchStat(jnp.zeros((2, classes, width), jnp.float32))
        self.form, self.gamma = form, gamma

    def for_advanced(self, batch: Batch, hidden: Array) -> Batch:
        """What the advanced model sees: the batch, in the cascaded form with f_G(x) beside every modality."""
        if self.form == "parallel":
            return batch
        wide = {k: jnp.concatenate([x, hidden.astype(x.dtype)], axis=-1) for k, x in batch.features.items()}
        return Batch(wide, batch.mask, batch.graph)

    def similarity(self, hidden: Array, prototypes: Array) -> Array:
        """d: hidden [..., 2, F] against prototypes [2, C, F], [..., C]."""
        advanced = cosine(hidden[..., 1, :], prototypes[1])
        if self.form == "cascaded":
            return advanced
        return cosine(hidden[..., 0, :], prototypes[0]) + self.gamma * advanced

    def classify(self, similarity: Array) -> Array:
        """[..., C] -> logits [..., C]"""
        return similarity @ self.weight[...] + self.bias[...]

    def __call__(self, batch: Batch, *, context: Context = EVALUATION) -> Output:
        """The fused prediction; `hidden` is [f_G; f_A] [N, 2 F], the attention "prototypes" the similarities [N, C].

        Side predictions of the two models train them in their own stages only.
        """
        first, second = context.split(2)
        g = self.generic(batch, context=first)
        a = self.advanced(self.for_advanced(batch, g.hidden), context=second)
        hidden = jnp.stack([g.hidden, a.hidden], axis=1)
        d = self.similarity(hidden, self.prototypes[...].astype(hidden.dtype))
        said = {"generic": g, "advanced": a}
        losses = {f"{who} {k}": v for who, own in said.items() for k, v in own.losses.items()}
        shown = [own.revealed for own in said.values() if own.revealed is not None]

        def both(field: str) -> tuple:
            found = [(who, record) for who, own in said.items() for record in getattr(own, field)]
            return tuple(dataclasses.replace(record, name=f"{who} {record.name}") for who, record in found)

        seen = Attention("prototypes", d, ("node", "class"), "node", "class", normalised=False)
        return Output(
            self.classify(d),
            None,
            a.embeddings,
            hidden.reshape(len(d), -1),
            a.mask,
            a.present,
            attention=(seen, *both("attention")),
            states=both("states"),
            losses=losses,
            revealed=functools.reduce(jnp.logical_or, shown) if shown else None,
        )

    def only_generic(self, batch: Batch, *, context: Context = EVALUATION) -> Output:
        """The first stage: f_G alone, its prediction the cosines to its prototypes."""
        g = self.generic(batch, context=context)
        return dataclasses.replace(g, prediction=cosine(g.hidden, self.prototypes[0].astype(g.hidden.dtype)))

    def only_advanced(self, batch: Batch, *, context: Context = EVALUATION) -> Output:
        """The second stage: f_A alone with its own head; f_G, where f_A reads it, is finished."""
        if self.form == "cascaded":
            batch = self.for_advanced(batch, jax.lax.stop_gradient(self.generic(batch).hidden))
        return self.advanced(batch, context=context)

    def remember(self, hidden: Array, target: Target, weight: Array):
        """Stores the class means of hidden [N, 2, F] over the rows with weight > 0."""
        means = class_means(hidden, target.labels, weight > 0, target.num_outputs)  # [C, 2, F]
        self.prototypes[...] = jnp.swapaxes(means, 0, 1).astype(self.prototypes[...].dtype)


class MPFNet(Scheme):
    """Three stages: triplets train f_G; cross-entropy on amplified samples trains f_A; episodes train both together.

    f_G and f_A are two models of the cell's config. Stage 1 minimises the triplet loss of f_G. Stage 2 trains f_A with
    the cell's own loss on x_i + kappa (x_i - mean of the neighbours' x): what tells a node from its surroundings is
    amplified, the graph's counterpart of magnified motion. It shows f_A the features of neighbours, which in the
    inductive setting are those of training. Stage 3 draws episodes from the training rows: `ways` classes, of each
    `shots` rows to average into a prototype and one to classify by `TwoEncoders`. Evaluation averages all training
    rows of a class. Every stage keeps its best epoch on validation rows: in stage 1 by nearest prototype, in stage 2
    by f_A's own head, in stage 3 by the fused prediction.

    The reference optimises with SGD of momentum 0.9 at 1e-2, 1e-3 and 5e-2; here it is the config's optimiser, at its
    own rate unless `rates` differ.

    Args:
        form: "parallel" or "cascaded", see `TwoEncoders`.
        gamma: weight of the advanced similarity in the parallel form, >= 0.
        margin: of the triplets, >= 0.
        kappa: factor of the amplification; 0 leaves it out.
        ways: classes of an episode, all if None.
        shots: support rows of a class.
        episodes: drawn at every step, their losses averaged.
        shares: of the epochs that the stages get; (0, 0, 1) is the ablation without progressive training.
        rates: factors on the learning rate in the three stages; (1, 0.1, 5) with SGD at 1e-2 is the paper's.
    Raises:
        ValueError: an option out of range, too few epochs for the shares, no classes of nodes, placement `decision`;
            with kappa a data set without a graph.
    """

    info = Info(
        "MPFNet: A Multi-Prior Fusion Network with a Progressive Training Strategy for Micro-Expression Recognition",
        2025,
        golden="mpfnet",
        cost="two models, + O(episodes C (shots + C) D)",
    )

    def __init__(
        self,
        *,
        form: str = "parallel",
        gamma: float = 0.1,
        margin: float = 1.0,
        kappa: float = 2.0,
        ways: int | None = None,
        shots: int = 5,
        episodes: int = 16,
        shares: tuple[float, float, float] = (60, 80, 10),
        rates: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ):
        if form not in FORMS:
            raise ValueError(f"scheme 'mpfnet': form={form!r}{nearest(form, FORMS)}; expected one of {FORMS}")
        least = dict(gamma=0, margin=0, kappa=0, shots=1, episodes=1)
        given = dict(gamma=gamma, margin=margin, kappa=kappa, shots=shots, episodes=episodes)
        if ways is not None:
            least["ways"], given["ways"] = 2, ways
        for name, value in given.items():
            if value < least[name]:
                raise ValueError(f"scheme 'mpfnet': {name}={value}, expected at least {least[name]}")
        if len(shares) != 3 or len(rates) != 3 or min(shares) < 0 or not shares[2] > 0:
            raise ValueError(
                f"scheme 'mpfnet': shares={shares}, rates={rates}; expected three numbers each, no share below 0 and "
                "the last one above 0: evaluation is the last stage's"
            )
        self.form, self.gamma, self.margin, self.kappa = form, gamma, margin, kappa
        self.ways, self.shots, self.episodes, self.shares, self.rates = ways, shots, episodes, tuple(shares), rates

    def build(self, make: Make, feature_dims: Mapping[str, int], target: Target, key: Array) -> TwoEncoders:
        if target.words != "classes of nodes":
            raise ValueError(f"scheme 'mpfnet' classifies nodes, got {target.words}")
        first, second = jax.random.split(key)
        generic = make(feature_dims, first)
        if generic.placement == "decision":
            raise ValueError("scheme 'mpfnet' compares nodes' states; at placement 'decision' there are none")
        if generic.head is None:
            raise ValueError("scheme 'mpfnet' compares the states that a head reads, model.head='none' is without")
        width = generic.head.in_features
        wider = width if self.form == "cascaded" else 0
        advanced = make({name: d + wider for name, d in feature_dims.items()}, second)
        return TwoEncoders(generic, advanced, target.num_outputs, width, form=self.form, gamma=self.gamma)

    def stages(self, epochs: int) -> tuple[Stage, ...]:
        ends = np.round(np.cumsum(self.shares) / sum(self.shares) * epochs).astype(int)
        lengths = np.diff(ends, prepend=0).tolist()
        if any(share > 0 and not n for share, n in zip(self.shares, lengths, strict=True)):
            raise ValueError(f"scheme 'mpfnet': {epochs} epochs leave a stage of shares={self.shares} without any")
        generic, advanced, together = (dict(epochs=n, rate=r) for n, r in zip(lengths, self.rates, strict=True))
        stages = (
            Stage(
                **generic,
                forward=TwoEncoders.only_generic,
                loss=self.triplet_loss,
                remember=remember_generic,
                trains=("generic",),
            ),
            Stage(**advanced, transform=self.amplify, forward=TwoEncoders.only_advanced, trains=("advanced",)),
            Stage(**together, loss=self.episode_loss, remember=remember),
        )
        return tuple(stage for stage in stages if stage.epochs)

    def amplify(self, batch: Batch, key: Array) -> Batch:
        """x + kappa (x - mean of the neighbours that have the modality); as it is where there are none."""
        del key
        if not self.kappa:
            return batch
        if batch.graph is None:
            raise ValueError("scheme 'mpfnet' amplifies against neighbours: it needs a graph, or kappa=0")
        features = {
            name: amplified(x, batch.mask[:, m], batch.graph.view(m), self.kappa)
            for m, (name, x) in enumerate(batch.features.items())
        }
        return Batch(features, batch.mask, batch.graph)

    def triplet_loss(self, model, output: Output, target: Target, weight: Array, step: Array, key: Array) -> Array:
        """Of f_G, one triplet a training row."""
        del model, key
        return triplet(output, target, weight, context=Context(step=step), margin=self.margin)

    def episode_loss(
        self, model: TwoEncoders, output: Output, target: Target, weight: Array, step: Array, key: Array
    ) -> Array:
        """Mean over episodes of the queries' cross-entropy among the classes of the episode."""
        del step
        classes, hidden = target.num_outputs, output.hidden.reshape(len(output.hidden), 2, -1)

        def one(key):
            drawn = episode(target.labels, weight > 0, classes, key, shots=self.shots, ways=self.ways)
            return episode_cross_entropy(model, hidden, drawn)

        return jax.vmap(one)(jax.random.split(key, self.episodes)).mean()


def episode_cross_entropy(model: TwoEncoders, hidden: Array, drawn: Episode) -> Array:
    """-log p_c of the queries, averaged; p the softmax over the chosen classes. hidden [N, 2, F]."""
    classes = len(drawn.chosen)
    rows = hidden[drawn.rows]  # [C, B, 2, F]
    label = jnp.broadcast_to(jnp.arange(classes)[:, None], drawn.rows.shape)

    def flat(x):
        return x.reshape(-1, *x.shape[2:])

    prototypes = jnp.swapaxes(class_means(flat(rows), flat(label), flat(drawn.support), classes), 0, 1)
    d = jnp.where(drawn.chosen, model.similarity(flat(rows), prototypes), 0)
    p = masked_softmax(model.classify(d), drawn.chosen)
    own = jnp.take_along_axis(p, flat(label)[:, None], axis=-1)[:, 0]
    query = flat(drawn.query)
    return weighted_mean(-jnp.log(jnp.where(query, own, 1)), query.astype(hidden.dtype))


def amplified(x: Array, present: Array, graph: Graph, kappa: float) -> Array:
    """x [N, d] + kappa (x - mean over the senders that are `present`); rows without such senders as they are."""
    x = jnp.where(present[:, None], x, 0)
    count = propagate(present.astype(x.dtype), graph)[:, None]
    mean = propagate(x, graph) / jnp.maximum(count, 1)
    return jnp.where(present[:, None] & (count > 0), x + kappa * (x - mean), x)


def remember_generic(model: TwoEncoders, batch: Batch, target: Target, weight: Array):
    """The prototypes of f_G; those of f_A, which has not been trained, are the same until it is."""
    hidden = model.generic(batch).hidden
    model.remember(jnp.stack([hidden, hidden], axis=1), target, weight)


def remember(model: TwoEncoders, batch: Batch, target: Target, weight: Array):
    """The prototypes of both."""
    hidden = model(batch).hidden
    model.remember(hidden.reshape(len(hidden), 2, -1), target, weight)
