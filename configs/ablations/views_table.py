"""Views of one thing, five sets: a published table beside ours under both protocols, with plain classifiers.

    python -m experiments.sweep --config=configs/ablations/views_table.py:landuse21 --workdir=results/landuse21
    python -m experiments.sweep --config=configs/ablations/views_table.py:landuse21,more --workdir=results/landuse21
    python -m experiments.sweep --config=configs/ablations/views_table.py:quick --workdir=results/quick

One or several of handwritten, scene15, landuse21, msrcv1, leaves100; without a name all. The table is that of FUML
(Duan et al., ICML 2025): 80 % of the rows, drawn from all at once, train. Its code scales views with all rows, those
of the test among them, and states the best test accuracy over epochs. `paper` here trains on the same share and keeps
the epoch that is best on test rows; `honest` trains on 70 % and keeps the epoch that is best on 10 % more. Scalers
are fitted on training rows under both. leaves100 is drawn by species, 13 or 11 of 16 leaves train. There is no graph
but in the last row: one graph convolution over the 10 nearest (landuse21, leaves100: 5). The linear model has C = 1,
the SVM C = 10, beforehand: figures of both were known. The table of altered test rows ("conflicting") is not
reproduced.

Accuracy of five seeds in percent, of msrcv1 ten (`--config.seeds=10`). FUML is the best of the 14 published rows.

                                   handwritten  scene15      landuse21    msrcv1       leaves100
    published TMC                  98.5 ± 0.2   67.7 ± 0.3   31.7 ± 3.9   91.7 ± 2.7   86.8 ± 2.2
    published FUML                 99.2 ± 0.4   79.4 ± 1.3   76.7 ± 0.5   99.8 ± 0.8   99.8 ± 0.3
    linear                 paper   98.5 ± 0.4   80.8 ± 0.9   66.4 ± 0.9   96.4 ± 2.3   99.1 ± 0.3
                           honest  98.2 ± 0.3   80.1 ± 1.0   64.7 ± 0.9   96.2 ± 2.0   98.8 ± 0.7
    RBF SVM                paper   98.8 ± 0.2   81.3 ± 0.9   77.5 ± 2.5   93.6 ± 2.8   99.5 ± 0.5
                           honest  98.6 ± 0.2   80.8 ± 1.6   76.1 ± 1.4   93.1 ± 3.5   99.3 ± 0.6
    random forest          paper   98.8 ± 0.3   73.2 ± 1.5   73.9 ± 1.6   92.6 ± 2.4   99.1 ± 0.6
                           honest  98.8 ± 0.4   73.8 ± 1.5   72.2 ± 2.2   94.5 ± 3.0   98.8 ± 0.4
    concat_mlp             paper   98.8 ± 0.4   81.3 ± 1.2   79.2 ± 1.4   96.7 ± 2.3   99.3 ± 0.8
                           honest  97.9 ± 1.1   80.3 ± 1.2   76.2 ± 2.6   93.1 ± 2.6   97.9 ± 0.6
    concat_mlp, kNN graph  paper   98.8 ± 0.5   74.8 ± 1.1   70.7 ± 1.1   95.7 ± 2.7   99.1 ± 0.6
                           honest  97.8 ± 1.0   73.4 ± 2.2   67.1 ± 1.4   89.8 ± 3.9   98.5 ± 0.4

FUML's figure against the interval of concat_mlp under `paper` (t, 95 %, over these seeds):

    handwritten  inside, 98.3 to 99.3. Saturated: a random forest has as much.
    scene15      ours are higher, 79.8 to 82.8, and under `honest` (78.7 to 81.8) the same; so are the linear model's.
    landuse21    ours are higher, 77.5 to 81.0; under `honest`, with an eighth fewer rows, the same (73.0 to 79.4).
    msrcv1       ours are lower by 3.1, and 1.5 below the interval's end, 95.0 to 98.3; 42 test rows, one is 2.4 points.
    leaves100    inside, 98.3 to 100. Saturated; the SVM has the best mean.

Choosing by the test rows is worth 1 to 4 points to concat_mlp here (paper less honest, a seventh more rows included),
as much as most published rows lie apart; the graph of neighbours costs 6.5 to 9 points on scene15 and landuse21
(shown, but for scene15 under `honest`), where half of its edges join classes, and nothing that five seeds can tell on
the other three. Why ours are ahead on these two is not known; features are the same, the scaling is not. On msrcv1
the reason is likely the choice of the epoch: with 300 epochs to choose from, hidden layers of 128 and dropout of the
features a first run had 99.0 ± 1.3 there (five seeds, `paper`; its `honest` rows were not run). Published TMC is
lower than this family needs to be: `tmc` of `more` has 71.2 ± 1.7 on landuse21 under `paper`, the one cell of it that
was run.

Nothing is tuned: learning rate, width and epochs were set after two seeds of seven other settings on landuse21, whose
test figures were seen. Seconds of one processor, user and system: handwritten 104, scene15 150, msrcv1 70, leaves100
95; landuse21 was run in parts: 310 s of wall time for its ten cells, on a busy machine. `OMP_NUM_THREADS=1
OPENBLAS_NUM_THREADS=1` stood before the commands: on a machine that others use, a linear fit on landuse21 took 0.2 s
with it and 11 s without.
"""

from fusion_jax.study import defaults

EPOCHS = {"handwritten": 40, "scene15": 80, "landuse21": 200, "msrcv1": 60, "leaves100": 100}
SETS = tuple(EPOCHS)
DRAWN = {"train": 0.7, "val": 0.1, "stratify": False}
OPTIONS = {name: DRAWN for name in SETS} | {"leaves100": {"train_per_class": 11, "val_per_class": 2}}
SOURCE = "Duan et al., Deep Fuzzy Multi-view Learning for Reliable Classification (FUML), ICML 2025, Table 2"
FUML = {  # in percent: mean and standard deviation over ten draws, on test rows as they are
    # handwritten, scene15, landuse21, msrcv1, leaves100
    "TMDL-OA": ((98.55, 0.45), (75.57, 0.02), (25.02, 2.1), (95.0, 1.67), (75.28, 3.57)),
    "TMNR": ((97.2, 0.63), (68.1, 1.15), (27.38, 1.88), (94.05, 3.24), (90.13, 1.53)),
    "TMC": ((98.51, 0.15), (67.71, 0.3), (31.69, 3.93), (91.7, 2.7), (86.81, 2.2)),
    "DFTMC": ((98.75, 0.39), (63.1, 3.6), (34.95, 1.69), (96.9, 2.14), (69.92, 2.54)),
    "ETMC": ((98.75, 0.0), (71.61, 0.28), (43.52, 3.19), (92.86, 3.01), (91.44, 2.39)),
    "PDF": ((98.4, 0.37), (70.25, 1.21), (45.17, 2.66), (97.14, 1.78), (98.03, 0.71)),
    "DUA-Nets": ((98.1, 0.32), (65.01, 1.55), (45.24, 1.85), (84.67, 3.03), (90.31, 1.25)),
    "QMF": ((98.72, 0.48), (68.58, 1.49), (47.86, 2.55), (97.86, 1.28), (95.69, 1.25)),
    "UIMC": ((98.25, 0.0), (77.7, 0.0), (57.95, 0.61), (98.81, 1.19), (95.31, 0.71)),
    "ECML": ((98.72, 0.39), (76.19, 0.12), (60.1, 2.01), (94.05, 1.6), (92.53, 1.94)),
    "CCML": ((97.6, 0.62), (73.87, 1.83), (60.86, 1.93), (96.9, 2.39), (97.72, 0.92)),
    "DCP-CV": ((98.75, 0.59), (76.7, 2.15), (71.71, 2.09), (92.86, 2.61), (95.62, 1.38)),
    "DCP-CG": ((99.0, 0.47), (77.79, 1.73), (75.74, 0.98), (95.24, 3.69), (98.19, 0.46)),
    "FUML": ((99.2, 0.36), (79.41, 1.34), (76.71, 0.46), (99.76, 0.75), (99.78, 0.27)),
}
LATE = {"model.placement": "decision"}
FUSIONS = {"concat_mlp": {}}
MORE = {
    "gmu": {},
    "self_attention": {},
    "lmf": {},
    "late_logits": LATE,
    "tmc": {**LATE, "optimizer.learning_rate": 1e-2},
}
CONTROLS = {"logistic_regression": {"c": 1.0}, "rbf_svm": {"c": 10.0}, "random_forest": {"trees": 200}}


def stated(name: str) -> str:
    """What tables call the data set with its options: published rows stand beside no other split of it."""
    return f"{name} ({', '.join(f'{k}={v}' for k, v in sorted(OPTIONS[name].items()))})"


PUBLISHED = tuple(
    dict(
        label=label,
        source=SOURCE,
        data=stated(name),
        values=dict(accuracy=(round(mean / 100, 4), round(deviation / 100, 4))),
    )
    for label, accuracies in FUML.items()
    for name, (mean, deviation) in zip(SETS, accuracies, strict=True)
)


def get_config(arg: str = ""):
    config = defaults.get_config()
    config.seeds = 5
    config.data.scale = "column"
    config.model.encoder.name = "mlp"
    config.model.rate = 0.2
    config.model.layers = 0
    config.optimizer.learning_rate = 5e-3
    config.training.select_every = 2
    defaults.apply(config, arg, (*SETS, "more"))
    return config


def sweep(add, arg: str = ""):
    parts = set(arg.split(","))
    for name in [name for name in SETS if name in parts] or SETS:
        epochs = {} if "quick" in parts else {"training.epochs": EPOCHS[name]}
        for protocol in ("paper", "honest"):
            run = {"data.name": name, "data.options": OPTIONS[name], "protocol": protocol} | epochs
            for control, options in CONTROLS.items():
                add({**run, "control.name": control, "control.options": options})
            for fusion, own in (FUSIONS | (MORE if "more" in parts else {})).items():
                add({**run, **own, "model.fusion.name": fusion})
            graph = {"model.fusion.name": "concat_mlp", "model.layers": 1}
            add({**run, **graph}, label="concat_mlp, kNN graph")
