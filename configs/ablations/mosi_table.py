"""draft"""

from fusion_jax.study import defaults

FUSIONS = ("concat_mlp", "gmu", "self_attention")
LATE = ("late_logits", "tmc")
CONTROLS = {"logistic_regression": {"c": 0.01}, "rbf_svm": {}, "random_forest": {"trees": 200}}


def get_config(arg: str = ""):
    config = defaults.get_config(arg)
    config.data.name, config.seeds = "cmu_mosi", 5
    config.data.scale = "column"
    config.model.encoder.name = "mlp"
    config.model.encoder.options = {"rate": 0.2}
    config.model.layer.name = "sage"
    config.model.layers = 1
    config.training.select_every = 2
    config.optimizer.learning_rate = 2e-3
    config.optimizer.options.weight_decay = 1e-2
    if "quick" not in arg:
        config.training.epochs, config.training.chunk = 80, 40
    return config


def sweep(add):
    text = {"data.modalities": ("text",), "model.fusion.name": "single"}
    for protocol in ("paper", "honest"):
        run = {"protocol": protocol}
        for control, options in CONTROLS.items():
            add({**run, "control.name": control, "control.options": options})
        for graph, placed in (("no graph", {"model.layers": 0}), ("dialogue", {})):
            add({**run, **placed, **text}, label=f"text alone, {graph}")
            for fusion in FUSIONS:
                add({**run, **placed, "model.fusion.name": fusion}, label=f"{fusion}, {graph}")
            for fusion in LATE:
                late = {"model.fusion.name": fusion, "model.placement": "decision"}
                add({**run, **placed, **late}, label=f"{fusion}, {graph}")
