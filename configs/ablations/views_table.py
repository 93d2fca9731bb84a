"""draft"""

from fusion_jax.study import defaults

EPOCHS = {"handwritten": 60, "scene15": 150, "landuse21": 200, "msrcv1": 100, "leaves100": 150}
SETS = tuple(EPOCHS)
DRAWN = {"train": 0.7, "val": 0.1, "stratify": False}
OPTIONS = {name: DRAWN for name in SETS} | {"leaves100": {"train_per_class": 11, "val_per_class": 2}}
FUSIONS = {
    "concat_mlp": {},
    "gmu": {},
    "self_attention": {},
    "late_logits": {"model.placement": "decision"},
    "tmc": {"model.placement": "decision", "optimizer.learning_rate": 1e-2},
}
CONTROLS = {"logistic_regression": {"c": 1.0}, "rbf_svm": {"c": 10.0}, "random_forest": {"trees": 200}}


def get_config(arg: str = ""):
    config = defaults.get_config(arg, words=SETS)
    config.seeds = 5
    config.data.scale = "column"
    config.model.encoder.name = "mlp"
    config.model.rate = 0.2
    config.model.layers = 0
    config.optimizer.learning_rate = 5e-3
    config.training.select_every = 2
    return config


def sweep(add, arg: str = ""):
    parts = set(arg.split(","))
    for name in [name for name in SETS if name in parts] or SETS:
        epochs = {} if "quick" in parts else {"training.epochs": EPOCHS[name]}
        for protocol in ("paper", "honest"):
            run = {"data.name": name, "data.options": OPTIONS[name], "protocol": protocol} | epochs
            for control, options in CONTROLS.items():
                add({**run, "control.name": control, "control.options": options})
            for fusion, own in FUSIONS.items():
                add({**run, **own, "model.fusion.name": fusion})
            graph = {"model.fusion.name": "concat_mlp", "model.layers": 1}
            add({**run, **graph}, label="concat_mlp, kNN graph")
