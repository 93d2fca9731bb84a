"""Every key a study can set, once, with what it does. A study starts from this and changes what it is about.

A new key, with the default that leaves everything as it was, leaves every stored result valid (`study.identity`).
"""

from collections.abc import Sequence

from ml_collections import ConfigDict

from fusion_jax import zoo
from fusion_jax.study.keys import OPEN


def get_config(arg: str = "", words: Sequence[str] = ()) -> ConfigDict:
    """The defaults, changed as the study's argument says: see `apply`."""
    config = ConfigDict(
        dict(
            label="",  # the row's name in tables; "" derives it from what the study varies
            data=dict(
                name="digits",  # file in fusion_jax/data
                options=ConfigDict(),  # its loader's keywords
                modalities=(),  # names, in order; () for all. "structure" is a spectral encoding of the graph
                graph="",  # name of an edge set; "" for the data set's default
                views=(),  # one edge set a modality, by name; () where all use `graph`
                test_views=(),  # the same for evaluation, where a published system tests on other edges; () for `views`
                scale="modality",  # "column": each column to unit variance; "modality": one scale for all its columns;
                # "row": each row divided by the sum of its absolute values, nothing fitted; "none"
                # file in fusion_jax/data/missing: which modalities nodes lack, in training and evaluation, beside those
                # that the data set itself has not; its options, such as {"rate": 0.5}
                missing=dict(name="", options=ConfigDict()),
                setting="",  # "transductive" or "inductive"; "" for the data set's usual one
            ),
            seeds=10,  # number of trials of every cell, seeds 0 ... seeds - 1; below six no signed-rank test can tell
            per_seed=("init", "dropout", "split"),  # what differs from seed to seed
            protocol="honest",  # "honest": select on validation rows; "paper": on test rows, training on all others
            control=dict(name="", options=ConfigDict()),  # a file of fusion_jax/controls instead of the model
            model=dict(
                dim=64,  # D, of what encoders and graph layers return
                placement="before",  # before, after, interleaved, decision
                encoder=dict(name="linear", options=ConfigDict()),
                fusion=dict(name="concat_mlp", options=ConfigDict()),
                layer=dict(
                    name="gcn",  # file in fusion_jax/layers
                    options=ConfigDict(),
                    last=ConfigDict(),  # options in which the last layer differs, such as {"heads": 1, "merge": "mean"}
                ),
                layers=2,  # L, number of graph layers
                activation="relu",  # relu, elu: behind every graph layer but one that predicts
                mixer=dict(
                    name="standard",  # file in fusion_jax/mixers: in the place of softmax attention
                    options=ConfigDict(),
                    layers="uniform",  # which attentions, counted in the order of their calls: see mixers/base.py
                    part="fusion",  # "fusion", or "layer" for the graph layers (placement "before")
                ),
                readout=dict(name="", options=ConfigDict()),  # "": last for node tasks, mean for graph tasks
                head="linear",  # "linear": from D to the outputs; "none": the last graph layer gives the outputs
                missing="mask",  # mask, zeros, mean, learned, indicator, propagate: see fusion_jax/model/__init__.py
                presence="received",  # with "mask", which modalities a fusion sees behind message passing: "own", those
                # the node has itself; "received", also those it has received something of
                rate=0.5,  # dropout before every graph layer and before the head
            ),
            loss=dict(
                name="",  # file in fusion_jax/losses; "": the fusion's own, else the task's
                options=ConfigDict(),
                class_weights=False,  # weigh every training node by 1 / (its class's share)
                # {loss name: weight}, added to it; paths are set by study.set_key(config, "loss.extra", {path: weight})
                extra=ConfigDict(allow_dotted_keys=True),
                l2=0.0,  # strength s of the coupled L2 term s/2 sum theta^2, in the training loss only
                l2_parts=(),  # parts of the model it applies to, such as "layers.0" or "encoders"; () for all
            ),
            scheme=dict(name="", options=ConfigDict()),  # file in fusion_jax/schemes
            optimizer=dict(
                name="adamw",  # a factory of optax
                learning_rate=3e-3,
                options=ConfigDict(dict(weight_decay=5e-4)),  # its other keywords
                clip=0.0,  # largest global norm of the gradient; 0 for no clipping
                warmup=0,  # epochs of linear warm-up
                decay=False,  # cosine decay to 0 over the epochs
                rate_steps=(),  # pairs (epoch, factor): from that epoch on the learning rate is multiplied
                # {part of the model, such as "fusions" or "layers": factor of its learning rate}
                part_rates=ConfigDict(allow_dotted_keys=True),
            ),
            training=dict(
                epochs=200,
                patience=50,  # epochs without a better validation score before a seed stops
                chunk=50,  # epochs between two looks of the host at most: progress, checkpoints, early stop
                select="score",  # the epoch kept, by validation rows: "score", the task's own (of classes accuracy, of
                # equal ones the lower loss; else the loss); "loss", the lowest; "last", no row is looked at
                select_every=1,  # epochs between two looks at the validation rows; the last one is always looked at
                seed_axis="auto",  # vmap, map, or whichever suits the backend
                node_devices=0,  # so many devices share the nodes of a graph too large for one; 0: they share the seeds
                checkpoint_seconds=60.0,  # at least so long between two checkpoints inside a cell
                batch=0,  # training rows a step, each with a sampled neighbourhood; 0 for all rows on the whole graph
                fanout=(),  # with a batch: senders sampled a node, one number a graph layer from the rows outwards (a
                # single one stands for all layers); unread where no messages pass
                snapshots=0,  # so many times, evenly spaced from before the first epoch on, parameters are kept too
            ),
            size=dict(  # how many parameters the model is to have; model.dim is chosen for it
                like="",  # a fusion: as many as with that one, placed before the layers; "" for model.dim as it is
                parameters=0,  # so many; 0 for model.dim as it is
            ),
            resources=dict(  # of a cell, for engines that ask a cluster for them (slurm, ray); 0 for what that gives
                cpus=0,
                gpus=0,
                memory_gb=0.0,
                minutes=0,  # behind which a cell is saved and queued again
            ),
        )
    )
    config.lock()
    _open(config)
    apply(config, arg, words)
    return config


def _open(config: ConfigDict) -> None:
    """Lets a study set single options, `config.data.options.folder = ...`: whether there is such a one is said when
    the cell is resolved."""
    for key, node in config.items():
        if isinstance(node, ConfigDict):
            if key in OPEN:
                node.unlock()
            else:
                _open(node)


def apply(config: ConfigDict, arg: str, words: Sequence[str] = ()) -> None:
    """Changes the config as a study's argument says, a comma-separated list.

    Its elements are quick, fusion=, placement=, layer=, encoder=, data=, and the study's own `words`, which are left to
    it.

    Raises:
        ValueError: an element that is none of these; names the nearest.
    """
    for part in filter(None, arg.split(",")):
        kind, _, name = part.partition("=")
        if part in words:
            continue
        if part == "quick":
            config.seeds, config.training.epochs, config.training.chunk = 2, 20, 10
        elif kind == "placement":
            config.model.placement = name
        elif kind == "data":
            config.data.name = name
        elif kind in ("fusion", "layer", "encoder"):
            config.model[kind].name = name
            zoo.get(kind, name)
        else:
            known = ("quick", "fusion=", "placement=", "layer=", "encoder=", "data=", *words)
            raise ValueError(f"config argument {part!r}{zoo.nearest(part, known)}; expected some of {', '.join(known)}")
