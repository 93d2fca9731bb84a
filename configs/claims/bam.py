"""BAM (Zhang et al., 2024): specialised copies of a seed become experts of a mixture, their attention too.

The paper says that to upcycle attention as well as feed-forward parts beats the usual way, where the copies' attention
is averaged, and that attention experts have to be mixed softly: sent to the best one only, the gain is lost. Asked with
a copy a modality, where many nodes lack one of the two.
"""

from fusion_jax.study.claim_files import minutes

OF = (("layer", "bam"), ("scheme", "bam"))
SETTING = (
    "Planted nodes (synthetic, 800, two modalities with a symbol of their own each, missing at two of five nodes), a "
    "seed, two copies and the mixture of one layer, 24,000 parameters in all (within 8 %), edges in the place of a "
    "causal mask; the paper has language models of 590M and 2B parameters, copies for code, law and mathematics, and "
    "perplexity at equal data."
)


def get_config(arg: str = ""):
    symbols = dict(redundant=0.0, unique=0.4, synergy=0.0)
    changes = {
        "data.name": "synthetic",
        "data.options": dict(nodes=800, modalities=2, classes=4, missing=0.4, homophily=0.7, **symbols),
        "model.layer.name": "bam",
        "model.layers": 1,
        "model.rate": 0.2,
        "scheme.name": "bam",
        "scheme.options": {"copies": 2},
        "size.parameters": 24_000,
    }
    return minutes(arg, changes, epochs=120)


def sweep(add):
    kinds = {
        "attention and feed-forward": {},
        "feed-forward alone": {"attention": "one"},
        "attention, best expert only": {"attention_k": 1},
    }
    for label, options in kinds.items():
        add({"model.layer.options": {"experts": 3, "heads": 2} | options}, label=label)


def claims():
    better = "attention and feed-forward"
    return [
        dict(claim="attention experts beat averaged attention", better=better, than="feed-forward alone"),
        dict(
            claim="a soft mixture of attention experts beats the best one alone",
            better=better,
            than="attention, best expert only",
        ),
    ]
