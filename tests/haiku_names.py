"""Parameter names of the Perceiver family's Haiku code onto `nn.perceiver`; weights are (in, out) in both."""

from __future__ import annotations

from tests.helpers import prefixed

# deepmind-research lets Haiku number the linear layers, hierarchical_perceiver names them
NUMBERED = {"query": "linear", "key": "linear_1", "value": "linear_2", "out": "linear_3"}
NAMED = {
    "query": "query_linear",
    "key": "key_linear",
    "value": "value_linear",
    "out": "attention_output_linear",
}


def haiku_linear(prefix: str, case: dict, name: str) -> dict:
    bias = f"{name}/b"
    return {f"{prefix}.kernel": case[f"{name}/w"]} | ({f"{prefix}.bias": case[bias]} if bias in case else {})


def _norm(prefix: str, case: dict, name: str) -> dict:
    return {f"{prefix}.scale": case[f"{name}/scale"], f"{prefix}.bias": case[f"{name}/offset"]}


def _attention_and_mlp(case: dict, name: str) -> dict:
    named = f"{name}/attention/query_linear/w" in case
    out = {}
    for ours, theirs in (NAMED if named else NUMBERED).items():
        out |= haiku_linear(f"attention.{ours}", case, f"{name}/attention/{theirs}")
    mlp = ("dense/mlp_hidden_linear", "dense/mlp_output_linear") if named else ("mlp/linear", "mlp/linear_1")
    for ours, theirs in zip(("mlp.fc1", "mlp.fc2"), mlp, strict=True):
        out |= haiku_linear(ours, case, f"{name}/{theirs}")
    return out


def haiku_cross_attention(prefix: str, case: dict, name: str) -> dict:
    """A cross-attention block called `name` in the case onto a `CrossAttention` at `prefix`, "" for itself."""
    values = _attention_and_mlp(case, name)
    for ours, theirs in (("norm_query", ""), ("norm_input", "_1"), ("norm_mlp", "_2")):
        values |= _norm(ours, case, f"{name}/layer_norm{theirs}")
    return prefixed(prefix, values) if prefix else values


def haiku_self_attention(prefix: str, case: dict, name: str) -> dict:
    """A self-attention block called `name` in the case onto a `SelfAttention` at `prefix`."""
    values = _attention_and_mlp(case, name)
    for ours, theirs in (("norm", ""), ("norm_mlp", "_1")):
        values |= _norm(ours, case, f"{name}/layer_norm{theirs}")
    return prefixed(prefix, values)


def count(case: dict, name) -> int:
    """How many of name(0), name(1), ... begin the name of an array in the case."""
    i = 0
    while any(k.startswith(name(i)) for k in case):
        i += 1
    return i


def ratio(case: dict, name: str) -> int:
    """hidden width / width of a weight (in, out)."""
    rows, columns = case[name].shape
    return columns // rows


HEAD = "param/perceiver/reconstruction_head/hi_p_cross_attention"


def _cross(i: int) -> str:
    return f"param/perceiver/block_{i}/~/hi_p_cross_attention"


def _self(i: int, j: int) -> str:
    return f"param/perceiver/block_{i}/~/self_attend_id_{j}"


def hip_shapes(case: dict, groups: tuple[int, ...]) -> dict:
    """The options of `HiP` that shapes and names of the parameters tell, given the groups of each block."""
    levels = range(len(groups))
    tables = [case[f"{_cross(i)}/query_inputs/pos_embs"] for i in levels]
    first = next(k for k in case if k.startswith("param/perceiver/embedder/~embed/") and k.endswith("/w"))
    return dict(
        embed_dim=case[first].shape[1],
        groups=groups,
        latents=[t.shape[0] // g for t, g in zip(tables, groups, strict=True)],
        dims=[t.shape[1] for t in tables],
        self_attends=[count(case, lambda j, i=i: f"{_self(i, j)}/") for i in levels],
        widening=[ratio(case, f"{_self(i, 0)}/dense/mlp_hidden_linear/w") for i in levels],
        cross_widening=[ratio(case, f"{_cross(i)}/dense/mlp_hidden_linear/w") for i in levels],
        cross_heads=[1] * len(groups),
        project_positions="param/perceiver/position_encoder/position_encoding_linear/w" in case,
    )


def hip_block(case: dict, name: str, cross: str = "hi_p_cross_attention") -> dict:
    """A PerceiverBlock called `name` in the case onto a `Block`."""
    values = {"latents": case[f"{name}/~/{cross}/query_inputs/pos_embs"]}
    values |= haiku_cross_attention("cross", case, f"{name}/~/{cross}")
    skip = f"{name}/~/{cross}/pre_attention_residual_linear"
    if f"{skip}/w" in case:
        values |= haiku_linear("skip", case, skip)
    for j in range(count(case, lambda j: f"{name}/~/self_attend_id_{j}/")):
        values |= haiku_self_attention(f"stack.{j}", case, f"{name}/~/self_attend_id_{j}")
    return values


def hip_values(case: dict, names: list[str]) -> dict:
    """The whole model's parameters onto a `HiP` over the modalities `names`."""
    values = haiku_cross_attention("head", case, HEAD)
    for m, name in enumerate(names):
        values |= haiku_linear(f"embed.{m}", case, f"param/perceiver/embedder/~embed/embed_{name}")
        values |= haiku_linear(f"unembed.{m}", case, f"param/perceiver/embedder/~unembed/unembed_{name}")
        values[f"positions.{m}"] = case[f"param/perceiver/position_encoder/pos_emb_mae_{name}/pos_embs"]
        project = f"param/perceiver/position_encoder/position_encoding_linear{f'_{m}' if m else ''}"
        if f"{project}/w" in case:
            values |= haiku_linear(f"project.{m}", case, project)
    for i in range(count(case, lambda i: f"param/perceiver/block_{i}/")):
        values |= prefixed(f"blocks.{i}", hip_block(case, f"param/perceiver/block_{i}"))
    return values
