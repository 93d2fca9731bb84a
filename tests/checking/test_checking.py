"""A right file of every kind keeps all rules; one that is broken in one place breaks the rule that says so."""

import importlib

import pytest

from fusion_jax import checking
from fusion_jax.checking.base import OK, Broken, rules
from tests import tiny
from tests.checking.mine import RIGHT, write


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


def test_every_kind_with_rules_is_tested():
    assert sorted(RIGHT) == sorted(checking.kinds())


@pytest.mark.parametrize("kind", list(RIGHT))
def test_a_right_file_keeps_every_rule(kind, tmp_path):
    path = write(tmp_path, kind)
    assert checking.kind_of(path) == kind
    findings = checking.check(path)
    assert [f for f in findings if f.verdict != OK] == [] and len(findings) == len(rules(kind))


OUT = "return Fused(h.sum(1), tokens=h)"
GUARDED = "jnp.where(mask[..., None], self.linear(dropout(x, self.rate, context.key)), 0)"
CALL = ("nodes(self, x, mask, graph, context)", "__call__(self, x, mask, graph=None, context=None)")
INFO, PLACES = '"Nobody, A paper"', 'placements = ("before", "interleaved")'


def returning(out: str) -> tuple[str, str]:
    return OUT, f"return Fused({out})"


BROKEN = {  # kind: {(the rule, what is said): what is changed into what}
    "fusion": {
        ("the_file_says_what_it_does", "begin the file with a docstring"): ('"""A fusion for this test."""', ""),
        ("it_has_an_entry_in_the_catalogue", r"needs=\['edges'\]"): (INFO, '"A", needs=("edges",)'),
        ("it_has_an_entry_in_the_catalogue", "names no paper"): (INFO, '""'),
        ("its_options_are_keywords_with_defaults", "width can be given by position"): ("*, rate", "width=3, *, rate"),
        ("its_options_are_keywords_with_defaults", "width has no default"): ("*, rate", "*, width, rate"),
        ("its_options_are_keywords_with_defaults", r"\*\*rest would swallow"): ("rngs):", "rngs, **rest):"),
        ("its_options_are_keywords_with_defaults", r"takes \(modalities\)"): ("modalities, dim", "modalities"),
        ("it_keeps_no_random_state", r"nnx.Dropout \(rate\) keeps"): ("), rate\n", "), nnx.Dropout(rate, rngs=rngs)\n"),
        ("it_keeps_no_random_state", r"Mine \(self\) keeps random state"): ("), rate\n", "), rngs\n"),
        ("it_returns_Fused_of_the_right_shapes", "nodes returned an array, expected Fused"): (OUT, "return h.sum(1)"),
        ("it_returns_Fused_of_the_right_shapes", r"out has the shape \(9, 3\)"): returning("h.sum(1)[:, :3]"),
        ("it_returns_Fused_of_the_right_shapes", "out is bfloat16"): returning("h.sum(1).astype(jnp.bfloat16)"),
        ("it_returns_Fused_of_the_right_shapes", "loss 'a' has"): returning("h.sum(1), losses=dict(a=h[0, 0])"),
        ("it_can_stand_where_it_says", r"placement \['befor'\] is none"): ('"before"', '"befor"'),
        ("it_can_stand_where_it_says", "interleaved needs tokens"): returning("h.sum(1)"),
        ("compiled_is_as_run_line_by_line", "compiled it returns another"): returning("h.sum(1) * np.random.rand()"),
        ("its_attention_is_one", "sum to 1"): returning(
            "h.sum(1), h, (__import__('fusion_jax').records.Attention('a', h[..., 0], ('node', 'modality'), 'node', "
            "'modality'),)"
        ),
        ("padding_changes_nothing", "padding change the output"): returning("h.sum(1) - h.sum(1).mean(0)"),
        ("padding_changes_nothing", "change the loss 'a'"): returning("h.sum(1), losses=dict(a=h.mean())"),
        ("a_masked_modality_has_no_influence", "not finite"): returning("h.sum(1) / mask.sum(1, keepdims=True)"),
        ("a_masked_modality_has_no_influence", "modality 1, where it is masked"): (CALL, returning("x[:, 1]")),
        ("the_mask_is_read", "mask never read.*set reads_mask = False"): (GUARDED, "self.linear(x)"),
        ("the_mask_is_read", "take reads_mask away"): (PLACES, "reads_mask = False"),
        ("gradients_are_finite", "gradient of linear.* is not finite"): returning("h.sum(1) + jnp.sqrt(0 * h.sum(1))"),
        ("gradients_are_finite", "modality 1, where it is masked"): (
            CALL,
            returning("jnp.where(mask[:, 1:2], x[:, 1] * self.linear.kernel[0, 0], 0)"),
        ),
        ("permuting_the_nodes_permutes_the_output", "other outputs"): returning(
            "h.sum(1) * jnp.arange(len(x))[:, None]"
        ),
        ("permuting_the_nodes_permutes_the_output", r"symmetries=\['node'\]"): (PLACES, "symmetries = ('node',)"),
        ("permuting_the_modalities_leaves_the_output", "change the output"): (
            returning("h[:, 0]"),
            (PLACES, "symmetries = ('nodes', 'modalities')"),
        ),
        ("what_it_does_not_need_has_no_influence", "does not say so"): returning(
            "h.sum(1) + graph.row_ptr[3].astype(h.dtype)"
        ),
        ("without_a_graph_it_is_refused_by_name", "runs without one"): (CALL, (INFO, '"A", needs=("graph",)'))
        + (("self.rate, context.key", "0.0, None"),),
        ("a_rate_and_a_key_make_something_random", "change nothing"): ("self.rate, context", "0.0, context"),
        ("a_rate_and_a_key_make_something_random", "without a key rate=0.5"): returning("h.sum(1) + self.rate"),
        ("without_a_key_nothing_is_random", "two calls"): returning("h.sum(1) * np.random.rand()"),
        ("a_call_leaves_its_parameters_as_they_are", "parameters more"): (OUT, "self.more = nnx.Param(x); " + OUT),
        ("any_number_of_modalities_or_a_refusal", "M=1: "): returning("h[:, 0] + h[:, 1] * h.reshape(-1, 3, 16)[:, 2]"),
        ("who_has_a_modality_is_reached", "is not reached"): (
            OUT,
            OUT + "\n\n    def reached(self, mask, graph):\n        return mask.all(1)",
        ),
    },
    "layer": {
        ("it_returns_an_array_of_the_right_shape", "returned tuple, expected an array"): (
            "return self",
            "return (0,), self",
        ),
        ("it_returns_an_array_of_the_right_shape", r"returned the shape \(7, 17\)"): (
            "else out,",
            "else out, **{}) if out else nnx.Linear(dim, dim + 1,",
        ),
        ("compiled_is_as_run_line_by_line", "compiled it returns another"): (
            "return self",
            "return np.random.rand() * self",
        ),
        ("padding_changes_nothing", "padding change"): ("present), graph)", "present), graph) - x.mean(0)"),
        ("permuting_the_nodes_permutes_the_output", "another order"): (
            "zero_absent(x",
            "zero_absent(x * jnp.arange(len(x))[:, None]",
        ),
        ("gradients_are_finite", "gradient of .* is not finite"): (
            "return self.linear(",
            "return jnp.sqrt(0 * x) + self.linear(",
        ),
        ("from_one_width_to_another", "out=12 returns the shape"): ("dim if out is None else out", "dim"),
        ("from_one_width_to_another", "other parameters"): (
            "dim if out is None else out, ",
            "dim if out is None else out, use_bias=out is None, ",
        ),
        ("absent_nodes_are_not_there", "reaches the output"): ("zero_absent(x, present)", "x"),
        ("absent_nodes_are_not_there", "influence the output of present ones"): (
            "zero_absent(x, present)",
            "zero_absent(x, present) + 1",
        ),
        ("absent_nodes_get_no_gradient", "NaN in the row|not 0|not finite"): (
            "zero_absent(x, present)",
            "zero_absent(x**2, present)",
        ),
        ("it_says_who_is_reached", "says more than who has something"): (', needs=("graph",)', ""),
        ("it_says_who_is_reached", "leaves out who has something"): (
            "    def __call__",
            "    def reached(self, present, graph):\n        return present\n\n    def __call__",
        ),
        ("its_attention_and_its_losses_are_some", "loss 'a' is no finite scalar"): (
            "    def __call__",
            "    def losses(self, x, graph, present, context):\n        return dict(a=x)\n\n    def __call__",
        ),
        ("without_a_key_nothing_is_random", "two calls"): ("return self", "return np.random.rand() * self"),
    },
    "encoder": {
        ("it_returns_an_array_of_the_right_shape", "shape"): ("return self.linear(x)", "return self.linear(x)[:, :3]"),
        ("padding_changes_nothing", "padding change"): ("self.linear(x)", "self.linear(x) - x.mean(0)"),
        ("permuting_the_nodes_permutes_the_output", "another order"): (
            "linear(x)",
            "linear(x * jnp.arange(len(x))[:, None])",
        ),
        ("gradients_are_finite", "gradient of .* is not finite"): ("self.linear(x)", "jnp.sqrt(x**2) + self.linear(x)"),
        ("a_node_that_lacks_the_modality_is_not_there", "influences the output of others"): (
            "self.linear(x)",
            "propagate(self.linear(x) + 1, graph)",
        ),
        ("it_says_who_is_reached", "not who has something"): (INFO, '"A", needs=("graph",)'),
        ("its_attention_and_its_losses_are_some", "look at nodes that lack"): (
            "    def __call__",
            "    def losses(self, x, present, context):\n        return dict(a=x.sum())\n\n    def __call__",
        ),
    },
    "readout": {
        ("it_returns_Read_of_the_right_shape", "returned an array, expected Read"): (
            "Read(history.mean(1))",
            "history.mean(1)",
        ),
        ("it_returns_Read_of_the_right_shape", "level='nodes'"): (
            "    def __init__",
            "    level = 'nodes'\n\n    def __init__",
        ),
        ("permuting_the_nodes_of_a_graph", "another order"): (
            "history.mean(1)",
            "history.mean(1) * jnp.arange(len(history))[:, None]",
        ),
        ("graph_by_graph_is_the_batch", "read as another than alone"): (
            "history.mean(1)",
            "history.mean(1) - history.mean((0, 1))",
        ),
        ("a_padding_graph_changes_nothing", "padding changes"): (
            "history.mean(1)",
            "history.mean(1) - history.mean((0, 1))",
        ),
        ("rows_that_are_not_there_change_nothing", "stands for no node counts"): (
            "history.mean(1)",
            "history.mean(1) - history.mean((0, 1))",
        ),
        ("gradients_are_finite", "not finite"): ("history.mean(1)", "jnp.sqrt(history.mean(1) ** 2)"),
        ("gradients_are_finite", "no gradient reaches"): ("history.mean(1)", "0 * history.mean(1)"),
    },
    "loss": {
        ("it_is_a_finite_scalar", "expected a scalar"): ("weighted_mean(-power * p, weight)", "-p * weight"),
        ("its_gradient_is_finite", "its gradient is 0"): ("-power * p", "0 * p"),
        ("rows_of_weight_0_have_no_influence", "row of weight 0 changes it"): (
            "weighted_mean(-power * p, weight)",
            "-p.mean()",
        ),
        ("padding_changes_nothing", "padding change it"): ("weighted_mean(-power * p, weight)", "(-p * weight).mean()"),
        ("without_any_row_that_counts_it_is_finite", "not finite"): (
            "weighted_mean(-power * p, weight)",
            "-(p * weight).sum() / weight.sum()",
        ),
        ("its_options_are_keywords_with_defaults", "context can be given by position"): ("*, context", "context, *"),
    },
    "control": {
        ("it_scores_every_node_and_class", "scores of shape"): ("(len(x), 1)", "(len(x) - 1, 1)"),
        ("its_options_are_keywords_with_defaults", "depth has no default"): (
            "    def predict",
            "    def __init__(self, *, depth):\n        pass\n\n    def predict",
        ),
    },
    "mixer": {
        ("it_has_an_entry_in_the_catalogue", "names no paper"): (INFO, '""'),
        ("its_options_are_keywords_with_defaults", "power has no default"): (
            "    def weights",
            "    def __init__(self, modalities, dim, *, power, rngs):\n        pass\n\n    def weights",
        ),
        ("rows_of_weights_sum_to_one", "do not sum to 1"): ("keys.share(", "2 * keys.share("),
        ("a_masked_key_has_weight_exactly_0", "has a weight"): ("keys.share(", "jnp.ones_like("),
        ("numbers_and_gradients_are_finite_where_all_keys_are_masked", "outputs are not finite"): (
            "keys.share(1 + keys.pair(q, k) ** 2)",
            "(w := keys.share(1 + keys.pair(q, k) ** 2)) / w.sum(-1, keepdims=True)",
        ),
        ("numbers_and_gradients_are_finite_where_all_keys_are_masked", "gradients are not finite"): (
            "** 2)",
            "** 2 + jnp.sqrt(0 * keys.pair(q, k)))",
        ),
        ("one_key_has_all_of_the_weight", "only key is not 1"): ("keys.share(", "0.5 * keys.share("),
        ("it_keeps_the_dtype", "weights of bfloat16 are float32"): (
            "** 2)",
            "** 2).astype(jnp.float32)",
        ),
        ("it_weighs_along_edges_too", "masked sender has a weight"): ("keys.share(", "jnp.asarray("),
        ("it_weighs_along_edges_too", "a receiver do not sum to 1"): ("keys.share(", "2 * keys.share("),
        ("it_stands_in_a_fusion_and_nothing_is_left_behind", "the same call gives other numbers"): (
            "1 + keys",
            "1 + np.random.rand() + keys",
        ),
    },
    "scheme": {
        ("its_stages_stay_within_the_epochs", "stages of 13 epochs"): (
            "    def transform",
            "    def stages(self, epochs):\n        return (Stage(epochs + 1),)\n\n    def transform",
        ),
        ("what_a_step_sees_has_the_form_of_the_batch", "other shapes"): ("self.factor * x", "x[:, :1]"),
    },
}
EACH = [(kind, *said, changed) for kind, rows in BROKEN.items() for said, changed in rows.items()]


@pytest.mark.parametrize("kind, rule, said, changed", EACH, ids=[f"{k}-{r}-{i}" for i, (k, r, *_) in enumerate(EACH)])
def test_what_is_broken_breaks_the_rule_that_says_so(kind, rule, said, changed, tmp_path):
    changes = (changed,) if isinstance(changed[0], str) else changed
    path = write(tmp_path, kind, *changes)
    with pytest.raises((Broken, ValueError), match=said):
        (asked,) = (r for r in rules(kind) if r.__name__ == rule)
        asked(importlib.import_module(f"fusion_jax.checking.{kind}").Case(path))
