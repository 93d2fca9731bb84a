"""HiP: grouping and regrouping, one block with a skip, whole models."""

import itertools

import jax
from flax import nnx

from fusion_jax.fusion.hierarchical_perceiver.blocks import Block, Grouping, HiP, regroup
from tests.golden_options import divisors, matching
from tests.haiku_names import count, hip_block, hip_shapes, hip_values, ratio
from tests.helpers import assign


def grouping(case):
    names = [k.removeprefix("out/ungrouped_") for k in case if k.startswith("out/ungrouped_")]
    tokens = [case[f"in/{n}"] for n in names]
    ours = Grouping([t.shape[1] for t in tokens], case["out/grouped"].shape[1])
    yield "num_groups_per_modality", ours.groups, case["out/num_groups_per_modality"]
    yield "index_dim_per_group", ours.size, case["out/index_dim_per_group"]
    grouped = ours.group(tokens)
    yield "grouped", grouped, case["out/grouped"]
    for name, back in zip(names, ours.ungroup(grouped), strict=True):
        yield f"ungrouped_{name}", back, case[f"out/ungrouped_{name}"]
    for key in case:
        if key.startswith("out/regroup_"):
            how, groups = key.removeprefix("out/regroup_").rsplit("_to", 1)
            yield key, regroup(case["in/regroup_in"], int(groups), how), case[key]


def perceiver_block(case):
    x, skip = case["in/x"], case.get("in/pre_attention_residual")
    name = "param/block"
    cross = f"{name}/~/hi_p_cross_attention"
    groups, latents, dim = case["out/y"].shape[1:]

    def run(heads, cross_heads, how):
        module = Block(
            x.shape[-1],
            groups,
            latents,
            dim,
            heads=heads,
            cross_heads=cross_heads,
            how=how,
            self_attends=count(case, lambda j: f"{name}/~/self_attend_id_{j}/"),
            widening=ratio(case, f"{name}/~/self_attend_id_0/dense/mlp_hidden_linear/w"),
            cross_widening=ratio(case, f"{cross}/dense/mlp_hidden_linear/w"),
            skip_dim=None if skip is None else skip.shape[-1],
            rngs=nnx.Rngs(0),
        )
        assign(module, hip_block(case, name))
        z, _ = module.read(x, skip)
        return {"after": z, "y": module.process(z)}

    # heads and the kind of regrouping are in no array; two heads and "reshape" in the README
    candidates = itertools.product(divisors(dim, 2), divisors(x.shape[-1]), ("reshape", "transpose_reshape"))
    result = matching(run, candidates, case["out/y"])
    yield "after_cross_attention", result["after"], case["out/after_cross_attention"]
    yield "y", result["y"], case["out/y"]


def hip(case):
    names = [k.removeprefix("in/") for k in case if k.startswith("in/")]
    inputs = [case[f"in/{n}"] for n in names]
    first = f"out/input_reconstruction/{names[0]}"

    def run(groups, how, heads):
        options = hip_shapes(case, groups)
        module = HiP(
            [x.shape[1] for x in inputs],
            [x.shape[2] for x in inputs],
            heads=heads,
            how=how,
            **options,
            rngs=nnx.Rngs(0),
        )
        assign(module, hip_values(case, names))
        out = jax.jit(lambda x: module(x))(inputs)
        latents = module.grouping.ungroup(out.latents[-1])
        return {"y": out.reconstruction[0], "reconstruction": out.reconstruction, "latents": latents}

    result = matching(run, _candidates(case, len(names)), case[first])
    for i, name in enumerate(names):
        yield f"reconstruction/{name}", result["reconstruction"][i], case[f"out/input_reconstruction/{name}"]
        yield f"latents/{name}", result["latents"][i], case[f"out/latents/{name}"]


def _candidates(case, modalities):
    """Groups, kind of regrouping and heads that fit the shapes; what the README says of its cases comes first.

    README: (2, 1, 2) and heads (2, 3, 2) for widths (8, 12, 8); (4, 2, 1, 2, 4), heads 2 and
    "transpose_reshape" for the case with projected positions.
    """
    levels = count(case, lambda i: f"param/perceiver/block_{i}/")
    name = "param/perceiver/block_{}/~/hi_p_cross_attention/query_inputs/pos_embs"
    tables = [case[name.format(i)] for i in range(levels)]
    projected = "param/perceiver/position_encoder/position_encoding_linear/w" in case
    hows = sorted(("reshape", "transpose_reshape"), key=lambda h: (h == "reshape") == projected)
    rows, widths = [len(t) for t in tables], [t.shape[1] for t in tables]
    heads = list(itertools.product(*(divisors(w, w // 4) for w in widths)))
    for groups in _groupings(rows, modalities):
        for how in hows:
            yield groups, how, heads[0]
    for groups in _groupings(rows, modalities):
        for how, h in itertools.product(hows, heads[1:]):
            yield groups, how, h


def _groupings(rows, modalities):
    """All (G_0, ..., G_p = 1, ..., G_0) falling towards the middle, that the levels' rows allow, M first."""
    middle = len(rows) // 2
    for half in itertools.product(*(divisors(r) for r in rows[:middle])):
        groups = (*half, 1, *half[::-1])
        falling = all(a > b for a, b in itertools.pairwise((*half, 1)))
        fits = all(rows[i - 1] % groups[i] == 0 for i in range(1, len(rows)))
        if falling and half[0] >= modalities and fits:
            yield groups
