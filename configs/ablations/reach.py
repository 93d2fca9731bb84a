"""Attention over many nodes against message passing: on data whose class lies a chosen distance away, and on citations.

    python -m experiments.sweep --config=configs/ablations/reach.py --workdir=results/reach
    python -m experiments.sweep --config=configs/ablations/reach.py:far --workdir=results/reach_far
    python -m experiments.sweep --config=configs/ablations/reach.py:cora,citeseer --workdir=results/reach_citations

On `synthetic_reach` the class of a node is a combination of both modalities of one other node, 2 (`near`), 4 (`middle`)
or 8 edges away (`far`). Chance is .50, who reads the combination of some marked node instead of the own .75, who reads
the right one 1.00. Every row has two graph layers of one kind, or a fusion that looks across nodes before two layers
without edges, and as many parameters as the others (`PARAMETERS`, within 10 %), so that two rounds of message passing
reach the class at distance 2 and not farther; sgc and appnp, whose layers have several rounds, and the rows of as many
rounds as edges reach it. Graphs of training and test differ: csa_rerank, whose anchors are training nodes of the same
graph, and random_feature_attention, which sees a node alone, are not asked there.

On Cora and CiteSeer (words and structure, the public split) all rows stand side by side at one size for each set. Of
random_feature_attention a quarter of that on Cora, and a seventh on CiteSeer, are the values of a prediction of its
own, which no head asks for here: what is trained of it is so much smaller.

The sentences in `claims` were written before any row was run; which sizes and options rows have (`FINER`) was settled
behind a trial of `far` with two seeds and 12,000 parameters: gcn .49, gat .50, gin .50, sage .52, gcn and gat of eight
layers .48 and .45, halonet .54, biformer .98, combiner .98, long_sequence_unified .98, graphgps .99.

Recorded with `far`, ten seeds, untuned, accuracy (the best classifier has .999): combiner .961, biformer .971, graphgps
.976, long_sequence_unified .982 and graphormer .987 read the class eight edges away in two layers; as a fusion, without
edges, long_sequence_unified finds it in part (.815 +- .114), npt (.505) and primal_attention (.511) do not, though they
look at all nodes. halonet .535 sees one hop a layer further than its parts. Message passing of two rounds is at chance
(gcn .481, gat .499, gatv2 .507, sage .480, gin .493), sgc .481 and appnp .477 of more rounds as well, and gcn and gat
of eight layers, which reach the class, do not learn to read it (.486 and .484). Of the six claims three hold (biformer,
combiner, long_sequence_unified: p < .001 after Holm) and three are undecided (halonet +.054 [-.030, .138], npt +.024
[-.037, .085], primal_attention +.030 [-.053, .114]).

With `near`, ten seeds as well, where two rounds do reach the class: gcn .768, sage .693, gin .800, sgc .755 and appnp
.757 read the combination of some marked node around rather than of the right one (that is .75), gat .897 and gatv2
.920 come to tell them apart, halonet has .937, combiner .970, biformer .983, long_sequence_unified .989, graphgps .993
and graphormer .994. Without edges npt .521 and primal_attention .518 are where `no graph` is (.515),
long_sequence_unified has .868 +- .099.

On `citeseer`, ten seeds, 120 labels, untuned, no row beats message passing, and logistic regression on words and
structure (.641) beats all of it: gat .603, sgc .596, gatv2 .590, gcn .584, sage .584, appnp .559, gin .452; without
edges .524, label propagation .499. Attention over many nodes costs accuracy there: long_sequence_unified .535, halonet
.466, combiner .422, graphormer .417, biformer .341 and graphgps .325; as fusions long_sequence_unified .565,
random_feature_attention .533, csa_rerank .437, primal_attention .238 and npt .193, little above chance (.167). Nine
rows are significantly below gcn after Holm: these six, gin, primal_attention and npt.

On `cora`, ten seeds, 140 labels, untuned, likewise: gat .764, sage .759, sgc .757, gcn .751, gatv2 .749, appnp .736 and
logistic regression .743 are not shown to differ, gin .650; label propagation .713; without edges .632. halonet .678,
long_sequence_unified .641, combiner .625, graphgps .473, graphormer .436 and biformer .423 are significantly below gcn,
and so are the fusions: long_sequence_unified .666, random_feature_attention .554, csa_rerank .445, primal_attention
.292 and npt .268. With so few labels attention over all nodes has to find what the edges say.
"""

from fusion_jax.data.synthetic_reach import bayes_accuracy
from fusion_jax.study import defaults

DISTANCES = {"near": 2, "middle": 4, "far": 8}
REAL = ("cora", "citeseer")
PARAMETERS = {"synthetic_reach": 20_000, "cora": 110_000, "citeseer": 260_000}
MESSAGES = {"gcn": {}, "gat": {}, "gatv2": {}, "sage": {}, "gin": {}, "sgc": {"hops": 4}, "appnp": {}}
MANY = ("halonet", "biformer", "combiner", "long_sequence_unified", "graphgps", "graphormer")
FUSIONS = ("npt", "primal_attention", "long_sequence_unified")
NODES = ("random_feature_attention", "csa_rerank")  # fusions of citations alone
SYSTEMS = ("halonet", "biformer", "combiner", "long_sequence_unified", "npt", "primal_attention")
NO_GRAPH = {"model.layer.name": "none"}
FINER = {  # less than their papers have, as no width comes within 10 % of the others
    "graphgps": {"heads": 2},
    "graphormer": {"heads": 2},
    "npt": {"depth": 2, "heads": 2},
    "primal_attention": {"heads": 2, "rank": 8, "samples": 64},
    "long_sequence_unified": {"residual": True},  # else what a node has of its own only asks
}


def named(distance: int) -> str:
    """What tables call a planted set beside others."""
    return f"synthetic_reach (distance={distance})"


KNOWN = tuple(
    dict(
        label="best classifier",
        source="bayes_accuracy of fusion_jax/data/synthetic_reach.py, from the probabilities the data are drawn with",
        data=named(distance),
        values={"accuracy": bayes_accuracy(draws=2_000)},
    )
    for distance in DISTANCES.values()
)


def get_config(arg: str = ""):
    """`arg` may hold, comma-separated: near, middle, far, cora, citeseer, and what every study takes."""
    config = defaults.get_config(arg, words=(*DISTANCES, *REAL))
    config.data.name = "synthetic_reach"
    config.model.layer.name = "gcn"
    config.model.rate = 0.0
    config.optimizer.learning_rate = 5e-3
    config.size.parameters = PARAMETERS["synthetic_reach"]
    if "quick" not in arg.split(","):
        config.training.epochs, config.training.patience, config.training.chunk = 300, 100, 50
    config.training.select_every = 2
    return config


def sweep(add, arg: str = ""):
    parts = set(arg.split(","))
    distances = [d for word, d in DISTANCES.items() if word in parts]
    real = [name for name in REAL if name in parts]
    if not distances and not real:
        distances = list(DISTANCES.values())
    for distance in distances:
        here = {"data.options": {"distance": distance}}
        rows(add, here, FUSIONS)
        if distance > 2:
            for layer in ("gcn", "gat"):
                deep = {"model.layer.name": layer, "model.layers": distance}
                add(here | deep, label=f"{layer}, {distance} layers")
        add(here | NO_GRAPH, label="no graph")
    for name in real:
        here = {"data.name": name, "size.parameters": PARAMETERS[name], "data.scale": "row", "model.rate": 0.5}
        here["data.modalities"] = ("words", "structure")
        here["training.patience"] = 30  # 140 or 120 labels are fitted within some tens of epochs
        rows(add, here, (*FUSIONS, *NODES))
        add(here | NO_GRAPH, label="no graph")
        for control in ("label_propagation", "logistic_regression"):
            add(here | {"control.name": control})


def rows(add, here: dict, fusions: tuple[str, ...]) -> None:
    """Graph layers behind concat_mlp, then fusions that look across nodes before layers without edges."""
    for layer, options in MESSAGES.items():
        add(here | {"model.layer.name": layer, "model.layer.options": options}, label=layer)
    for layer in MANY:
        add(here | {"model.layer.name": layer, "model.layer.options": FINER.get(layer, {})}, label=layer)
    for fusion in fusions:
        own = {"model.fusion.name": fusion, "model.fusion.options": FINER.get(fusion, {})}
        add(here | NO_GRAPH | own, label=f"{fusion}, fusion")


def claims(arg: str = ""):
    """What each system is for, said before the study was run."""
    parts = set(arg.split(","))
    distances = [d for word, d in DISTANCES.items() if word in parts]
    if not distances and not set(REAL) & parts:
        distances = list(DISTANCES.values())
    alone = len(distances) == 1 and not set(REAL) & parts
    return [
        dict(
            claim=f"{system} beats gcn where the class lies {distance} edges away",
            better=system if system in MANY else f"{system}, fusion",
            than="gcn",
            data="synthetic_reach" if alone else named(distance),
        )
        for system in SYSTEMS
        for distance in distances
        if distance > 2
    ]
