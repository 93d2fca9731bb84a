"""CMU-MOSI, sentiment of utterances in the graph of their dialogue: published figures beside ours, both protocols.

    python -m experiments.sweep --config=configs/ablations/mosi_table.py --workdir=results/mosi
    python -m experiments.sweep --config=configs/ablations/mosi_table.py:more --workdir=results/mosi
    python -m experiments.sweep --config=configs/ablations/mosi_table.py:quick --workdir=results/quick

The published test videos. bc-LSTM runs along a video; here a GraphSAGE layer averages the three utterances before and
after. `paper` trains on all 62 training videos and keeps the epoch that is best on test rows, `honest` on 50 and
keeps the epoch that is best on the other 12. Few figures of this set could be read in a source; the unverified are
marked.

Accuracy of five seeds in percent (majority 62.1), 97 seconds of one processor with `OMP_NUM_THREADS=1`:

                                             paper         honest
    bc-LSTM, text, audio and video           80.3 (published)
    linear, C = 0.01                         76.9          76.5 ± 0.2
    RBF SVM, C = 1                           76.1          76.2 ± 0.2
    random forest                            76.1 ± 0.4    76.7 ± 0.3
    text alone, no graph                     76.0 ± 0.2    75.4 ± 0.4
    concat_mlp, no graph                     77.5 ± 0.6    76.0 ± 1.6
    concat_mlp, dialogue                     77.7 ± 0.5    75.8 ± 1.1

bc-LSTM is 2.6 points above our best row, and inside what the 752 test utterances leave open (Wilson, 95 %: 74.6 to
80.5; other utterances of the same videos are no independent draws, so it is wider still). What its 80.3 was selected
by is not known; here choosing by test rows is worth 1.5 to 2 points. Its context is a recurrence over the whole
video, ours three utterances either way, which is worth 0.2 points under `paper` and none under `honest`: neither
differs from no graph. Audio and video add a point at most to text, whose features were made with the training labels
(98 % there).
"""

from fusion_jax.study import defaults

PORIA = "Poria et al., Context-Dependent Sentiment Analysis in User-Generated Videos, ACL 2017, as in NLP-progress"
PUBLISHED = tuple(
    dict(label=label, source=source, data="cmu_mosi", values=dict(accuracy=(accuracy, None)))
    for source, label, accuracy in (
        (PORIA, "bc-LSTM, text, audio and video", 0.803),
        ("Zadeh et al. 2018, as in NLP-progress (other features and split)", "MARN", 0.771),
        ("Poria et al., ACL 2017 (unverified)", "bc-LSTM, text alone", 0.781),
        ("Ghosal et al., EMNLP 2018 (unverified)", "contextual inter-modal attention", 0.8231),
        ("Majumder et al. 2018 (unverified, about)", "CHFusion", 0.80),
    )
)
FUSIONS = ("concat_mlp",)
MORE = ("gmu", "self_attention", "lmf")
CONTROLS = {"logistic_regression": {"c": 0.01}, "rbf_svm": {"c": 1.0}, "random_forest": {"trees": 200}}


def get_config(arg: str = ""):
    config = defaults.get_config()
    config.data.name, config.seeds = "cmu_mosi", 5
    config.data.scale = "column"
    config.model.encoder.name = "mlp"
    config.model.encoder.options = {"rate": 0.2}
    config.model.layer.name = "sage"
    config.model.layers = 1
    config.training.select_every = 2
    config.optimizer.learning_rate = 2e-3
    config.optimizer.options.weight_decay = 1e-2
    config.training.epochs, config.training.chunk = 60, 30
    defaults.apply(config, arg, ("more",))
    return config


def sweep(add, arg: str = ""):
    parts = set(arg.split(","))
    for protocol in ("paper", "honest"):
        run = {"protocol": protocol}
        for control, options in CONTROLS.items():
            add({**run, "control.name": control, "control.options": options})
        for graph, placed in ((", no graph", {"model.layer.name": "none"}), ("", {})):
            for fusion in (*FUSIONS, *(MORE if "more" in parts else ())):
                add({**run, **placed, "model.fusion.name": fusion}, label=fusion + graph)
            if graph or "more" in parts:
                alone = {"data.modalities": ("text",), "model.fusion.name": "single"}
                add({**run, **placed, **alone}, label="text alone" + graph)
