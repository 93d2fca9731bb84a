"""A card in words: its sentence, its table and its note."""

from __future__ import annotations

from collections.abc import Sequence

from fusion_jax.data.base import Dataset
from fusion_jax.data.card.sources import GRAPH, OTHERS, OWN, QUANTILES, Sources

LEVEL = 0.05
COLUMNS = {
    "information a": "a alone",
    "information b": "b alone",
    "joint": "joint",
    "redundant": "redundant",
    "unique a": "unique a",
    "unique b": "unique b",
    "additive": "additive",
    "interaction": "interaction",
    "synergy": "synergy",
}


def sentence(lines: Sequence[dict], entropy: float) -> str:
    """Where the information lies, and which fusions reach it, by the Gaussian bounds of the nodes' own features.

    Of several comparisons the largest amount counts where its p times their number is at most LEVEL.
    """
    own = [one for one in lines if one["where"] == OWN and one["measure"] == "gaussian"]
    several = any(one["b"] == OTHERS for one in own)
    family = [one for one in own if (one["b"] == OTHERS) == several]
    joint, products = _best(family, "joint"), _best(family, "interaction")
    graph = _graph(lines)
    if not joint:
        return (
            f"Training rows show nothing that the modalities themselves say of the target ({entropy:.2f} bits){graph}: "
            "the rows are too few, or no fusion helps."
        )
    alone = max(
        (one for one in family if one["amount"] in ("information a", "information b") and _name(one) != OTHERS),
        key=lambda one: one["corrected"],
    )
    name, more = _name(alone), _beyond(family, alone)
    text = (
        f"Of the {entropy:.2f} bits of the target the modalities say at least {joint['corrected']:.2f}, of which "
        f"{name} alone says {alone['corrected']:.2f}; "
    )
    if products:
        pair = f"{products['a']} and {products['b']}"
        text += (
            f"{products['corrected']:.2f} are in products of {pair} alone, which bilinear and attention fusions reach "
            "and late ones do not; "
        )
    if more["p"] <= LEVEL and more["corrected"] > 0:
        what = "in all " if products else ""
        how = "" if products else ", which sums of what each says reach (concatenation, mean, late fusion)"
        text += f"{what}the others add {more['corrected']:.2f} to {name}{how}"
    else:
        text += _nothing_more(family, name)
    return f"{text}{graph}."


def _beyond(family: Sequence[dict], alone: dict) -> dict:
    """What is gained over one modality, from the comparison in which it said what it says alone."""
    where = alone["a"], alone["b"]
    wanted = "beyond " + alone["amount"][-1]
    return next(one for one in family if (one["a"], one["b"]) == where and one["amount"] == wanted)


def _nothing_more(family: Sequence[dict], name: str) -> str:
    """What is to be said where no fusion is shown to reach more than one modality alone."""
    shared = max(one["corrected"] for one in family if one["amount"] == "redundant" and name in (one["a"], one["b"]))
    own = max(
        one["corrected"]
        for one in family
        if one["amount"] == "unique a" and one["a"] == name or one["amount"] == "unique b" and one["b"] == name
    )
    if own > shared:
        return (
            f"{own:.2f} of them are unique to it and the others are not shown to add any: a fusion that keeps it apart "
            "will do (concatenation), a mean or a vote may lose"
        )
    return (
        f"{shared:.2f} are redundant, said by others too, who are not shown to add any: any fusion will do, late and "
        "mean too"
    )


def _best(family: Sequence[dict], amount: str) -> dict | None:
    """The largest of an amount, where it is shown to be more than chance."""
    own = [one for one in family if one["amount"] == amount]
    shown = [one for one in own if one["p"] * len(own) <= LEVEL and one["corrected"] > 0]
    return max(shown, key=lambda one: one["corrected"], default=None)


def _name(one: dict) -> str:
    return one[one["amount"][-1]]


def _graph(lines: Sequence[dict]) -> str:
    own = {one["amount"]: one for one in lines if one["where"] == GRAPH and one["measure"] == "gaussian"}
    if not own:
        return ""
    gain = own["beyond a"]
    if gain["p"] > LEVEL or not gain["corrected"]:
        return ", and neighbours are not shown to add to it"
    return f", and neighbours' means add {gain['corrected']:.2f} to a node's own features"


def table(lines: Sequence[dict]) -> str:
    """A line a comparison and measure: amounts less chance, with a star where p is at most LEVEL."""
    rows: dict[tuple, dict[str, dict]] = {}
    for one in lines:
        rows.setdefault((one["where"], one["a"], one["b"], one["measure"]), {})[one["amount"]] = one
    cells = [["where", "a", "b", "measure", *COLUMNS.values()]]
    cells += [[*key, *(_cell(amounts.get(name)) for name in COLUMNS)] for key, amounts in rows.items()]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def _cell(one: dict | None) -> str:
    return "-" if one is None else f"{one['corrected']:.2f}" + ("*" if one["p"] <= LEVEL else "")


def note(data: Dataset, found: Sources, permutations: int) -> str:
    """How the numbers came about, and what they do not say."""
    kept = ", ".join(f"{name} {share:.0%}" for name, share in found.kept.items())
    width = max(x.shape[1] for x in found.own.values())
    text = (
        f"Bits, less what chance gives ({permutations} permutations); * where p is at most {LEVEL}; each amount by "
        f"itself, so that parts need not add up. {len(found.rows)} training rows were looked at, and no target of any "
        f"other row. Of each modality its first directions, at most {width}, which have of the variance: {kept}. "
        "Gaussian amounts are bounds from below, on rows held out; they see interactions of second order alone. "
        "Clusters lose what k-means does not see, and their null takes off what few rows add."
    )
    if data.target.kind == "values":
        text += f" The target is which of {QUANTILES} equal parts a value is in."
    if found.near and data.setting == "transductive":
        text += " Neighbours are all nodes of the graph, whose features training sees too."
    elif found.near:
        text += " Neighbours are nodes that are no test rows, as training sees them."
    name = data.default_graph
    if name in data.made:
        text += f" Edges of {name!r} are made from features."
    return text
