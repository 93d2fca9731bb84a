"""Forum self-attention: every reduction, both scales, the node token and the concatenation baselines."""

from flax import nnx

from fusion_jax.fusion import concat_linear, concat_mlp
from tests.helpers import assign


def baselines_concat(case):
    x, mask = case["in/x"], case["in/mask"]
    modalities = x.shape[1]
    width = case["param/linear.bias"].size
    linear = concat_linear.ConcatLinear(modalities, x.shape[2], out_dim=width, rngs=nnx.Rngs(0))
    assign(linear, {"linear.kernel": case["param/linear.kernel"], "linear.bias": case["param/linear.bias"]})
    yield "concat_linear", linear(x, mask).out, case["out/concat_linear"]
    hidden, width = case["param/mlp1.kernel"].shape
    mlp = concat_mlp.ConcatMlp(modalities, x.shape[2], hidden=hidden, out_dim=width, rngs=nnx.Rngs(0))
    assign(mlp, {
        "mlp.fc1.kernel": case["param/mlp0.kernel"], "mlp.fc1.bias": case["param/mlp0.bias"],
        "mlp.fc2.kernel": case["param/mlp1.kernel"], "mlp.fc2.bias": case["param/mlp1.bias"],
    })  # fmt: skip
    yield "concat_mlp", mlp(x, mask).out, case["out/concat_mlp_relu"]
