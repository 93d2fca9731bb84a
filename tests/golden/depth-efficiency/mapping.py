"""Levine et al.: the closed forms of thresholds, widths and counts of parameters."""

from fusion_jax.analysis.depth_efficiency import rule


def closed_forms(case):
    fit = dict(a=float(case["a"]), b=float(case["b"]))
    depth, width, budget = case["depth"], case["width"], case["budget"]
    yield "width_at_threshold_fit", rule.transition_width(depth, **fit), case["width_at_threshold_fit"]
    yield "params_at_threshold_fit", rule.transition_parameters(depth, **fit), case["params_at_threshold_fit"]
    yield "theory_depth_threshold_log3", rule.theory_depth(width), case["theory_depth_threshold_log3"]
    yield "fit_depth_threshold", rule.transition_depth(width, **fit), case["fit_depth_threshold"]
    yield "block_params", rule.block_parameters(depth[:, None], width), case["block_params"]
    best = rule.best_depth(budget, **fit)
    yield "budget_depth_fit", best, case["budget_depth_fit"]
    yield "budget_width_fit", rule.transition_width(best, **fit), case["budget_width_fit"]
