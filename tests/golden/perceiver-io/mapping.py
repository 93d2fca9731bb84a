"""Perceiver IO: encoder and decoder, classification, one cross-attention, the second official version."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.hierarchical_perceiver.blocks import HiP
from fusion_jax.fusion.perceiver_io import Decoder, PerceiverIo
from fusion_jax.nn.perceiver import CrossAttention
from tests.golden_options import divisors, matching
from tests.haiku_names import (
    count,
    haiku_cross_attention,
    haiku_linear,
    haiku_self_attention,
    hip_shapes,
    hip_values,
    ratio,
)
from tests.helpers import assign

ENCODER = "param/perceiver_encoder/~"
LAYER = "self_attention"


def _layer(j):
    return f"{ENCODER}/{LAYER}{f'_{j}' if j else ''}"


def _model(case, decoder, blocks, heads, cross_heads, residual, decoder_heads):
    """Our model with the case's parameters; tokens go in as they are, without embedding and code."""
    x, latents = case["in/x"], case[f"{ENCODER}/trainable_position_encoding/pos_embs"]
    queries = _queries(case, decoder)
    output = case[f"{decoder}/output/w"]
    module = PerceiverIo(
        x.shape[1],
        x.shape[2],
        latents=latents.shape[0],
        latent_dim=latents.shape[1],
        code_dim=0,
        self_attends=count(case, lambda j: f"{_layer(j)}/"),
        blocks=blocks,
        heads=heads,
        cross_heads=cross_heads,
        decoder_heads=decoder_heads,
        widening=ratio(case, f"{_layer(0)}/mlp/linear/w"),
        cross_widening=ratio(case, f"{ENCODER}/cross_attention/mlp/linear/w"),
        query_dim=queries.shape[1],
        query_residual=residual,
        out_dim=output.shape[1],
        rngs=nnx.Rngs(0),
    )
    module.decoder = Decoder(  # with as many queries as the case has; the fusion itself has one
        latents.shape[1],
        *queries.shape,
        output.shape[1],
        heads=decoder_heads,
        residual=residual,
        rngs=nnx.Rngs(0),
    )
    values = {
        "embed.kernel": np.eye(x.shape[2]),
        "embed.bias": np.zeros(x.shape[2]),
        "codes": np.zeros((x.shape[1], 0)),
        "encoder.latents": latents,
        "decoder.queries": queries,
    }
    values |= haiku_cross_attention("encoder.cross", case, f"{ENCODER}/cross_attention")
    values |= haiku_cross_attention("decoder.cross", case, f"{decoder}/cross_attention")
    values |= haiku_linear("decoder.output", case, f"{decoder}/output")
    for j in range(len(module.encoder.stack)):
        values |= haiku_self_attention(f"encoder.stack.{j}", case, _layer(j))
    return assign(module, values)


def _queries(case, decoder):
    root = decoder if f"{decoder}/trainable_position_encoding/pos_embs" in case else f"{decoder}/~"
    return case[f"{root}/trainable_position_encoding/pos_embs"]


def _run(case, decoder, options):
    model = _model(case, decoder, *options)
    x, mask = case["in/x"], case["in/mask"].astype(bool)

    @jax.jit
    def forward(x):
        z, _ = model.encoder.read(model.tokens(x), mask)
        final = model.encoder.process(z)
        return {"latents_after_cross_attend": z, "latents_final": final, "y": model.decoder(final)}

    tables = {"latents_init": model.encoder.latents, "decoder_query": model.decoder.queries}
    tables = {k: jnp.broadcast_to(t[...], (len(x), *t.shape)) for k, t in tables.items()}
    return forward(x) | tables, model


def _compare(case, decoder, readme):
    """No array holds the repeats of the stack, the heads and the residual; the README's come first."""
    latent_dim = case[f"{ENCODER}/trainable_position_encoding/pos_embs"].shape[1]
    blocks, heads, residual = readme
    cross_width = case[f"{ENCODER}/cross_attention/attention/linear/w"].shape[1]
    candidates = itertools.product(
        sorted((1, 2, 3), key=lambda b: b != blocks),
        divisors(latent_dim, heads),
        divisors(cross_width),
        (residual, not residual),
        divisors(latent_dim),
    )
    y = case["out/y"]

    def run(*options):
        out, model = _run(case, decoder, options)
        out["model"] = model
        out["y"] = out["y"].reshape(y.shape)
        return out

    return matching(run, candidates, y)


def encoder_decoder(case):
    result = _compare(case, "param/basic_decoder", (2, 2, False))
    result.pop("model")
    for name, value in result.items():
        yield name, value, case[f"out/{name}"]


def classification_decoder(case):
    result = _compare(case, "param/classification_decoder/~/basic_decoder", (1, 4, True))
    model = result.pop("model")
    for name, value in result.items():
        yield name, value, case[f"out/{name}"]
    yield "fusion", jax.jit(lambda x, mask: model(x, mask).out)(case["in/x"], case["in/mask"] > 0), case["out/y"]


def cross_attention(case):
    query, inputs = case["in/q"], case["in/kv"]
    name = "param/cross_attention"
    qk_dim = case[f"{name}/attention/linear/w"].shape[1]

    def run(heads, residual):
        module = CrossAttention(
            query.shape[-1],
            inputs.shape[-1],
            heads,
            qk_dim=qk_dim,
            residual=residual,
            widening=ratio(case, f"{name}/mlp/linear/w"),
            rngs=nnx.Rngs(0),
        )
        assign(module, haiku_cross_attention("", case, name))
        return {"y": module(query, inputs, case["in/mask"].astype(bool))[0]}

    # two heads in the README; whether the query is added stands in the case's name only
    candidates = itertools.product(divisors(qk_dim, 2), (True, False))
    yield "y", matching(run, candidates, case["out/y"])["y"], case["out/y"]


def hip_repo_perceiver_io(case):
    """One block over all tokens of `HiP`: squared relu, decoded by the positions."""
    names = [k.removeprefix("in/") for k in case if k.startswith("in/")]
    inputs = [case[f"in/{n}"] for n in names]
    options, first = hip_shapes(case, (1,)), case[f"out/input_reconstruction/{names[0]}"]

    def run(heads):
        module = HiP(
            [x.shape[1] for x in inputs],
            [x.shape[2] for x in inputs],
            heads=[heads],
            **options,
            rngs=nnx.Rngs(0),
        )
        assign(module, hip_values(case, names))
        out = jax.jit(lambda x: module(x))(inputs)
        latents = module.grouping.ungroup(out.latents[0])
        return {"y": out.reconstruction[0], "all": out.reconstruction, "latents": latents}

    result = matching(run, [(h,) for h in divisors(options["dims"][0], 2)], first)
    for i, name in enumerate(names):
        yield f"reconstruction/{name}", result["all"][i], case[f"out/input_reconstruction/{name}"]
        yield f"latents/{name}", result["latents"][i], case[f"out/latents/{name}"]
