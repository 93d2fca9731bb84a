"""Every key a study can set, once, with what it does: the defaults that `configs/base.py` hands on.

They lie in the package, so that it finds them wherever it is installed and whatever packages `configs` a user has.
"""

from ml_collections import ConfigDict

from fusion_jax import zoo


def get_config(arg: str = "") -> ConfigDict:
    """The defaults; `arg` is a comma-separated list of fusion=, placement=, layer=, encoder=, data=, quick."""
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
                scale="view",  # "column": each column to unit variance; "view": one scale a modality; "row": each row
                # divided by the sum of its absolute values, nothing fitted; "none"
                setting="",  # "transductive" or "inductive"; "" for the data set's usual one
            ),
            seeds=5,  # number of trials of every cell, seeds 0 ... seeds - 1
            vary=("init", "dropout", "split"),  # what differs from seed to seed
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
                readout=dict(name="", options=ConfigDict()),  # "": last for node tasks, mean for graph tasks
                head="linear",  # "linear": from D to the outputs; "none": the last graph layer gives the outputs
                missing="mask",  # mask, zeros, mean, learned
                presence="received",  # with "mask", which modalities a fusion sees behind message passing: "own", those
                # the node has itself; "received", also those it has received something of
                rate=0.5,  # dropout before every graph layer and before the head
            ),
            loss=dict(
                name="",  # file in fusion_jax/losses; "": the fusion's own, else the task's
                options=ConfigDict(),
                class_weights=False,  # weigh every training node by 1 / (its class's share)
                extra=ConfigDict(),  # {loss name: weight}, added to it
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
                steps=(),  # pairs (epoch, factor): from that epoch on the learning rate is multiplied
                factors=ConfigDict(),  # {part of the model, such as "fusions": factor of its learning rate}
            ),
            training=dict(
                epochs=200,
                patience=50,  # epochs without a better validation score before a seed stops
                chunk=50,  # epochs between two looks of the host: progress, checkpoints, early stop
                select="accuracy",  # the epoch kept, by validation rows: accuracy (ties by loss), loss; or the last
                select_every=1,  # epochs between two looks at the validation rows; the last one is always looked at
                seed_axis="auto",  # vmap, map, or whichever suits the backend
                checkpoint_seconds=60.0,  # at least so long between two checkpoints inside a cell
            ),
            match_params="",  # a fusion: D is chosen so that the model is as large as with that one; "" for D as it is
        )
    )
    config.lock()
    for part in filter(None, arg.split(",")):
        apply(config, part)
    return config


def apply(config: ConfigDict, part: str) -> None:
    """One element of the argument: `quick`, or `kind=name`.

    Raises:
        ValueError: an element that is neither.
    """
    if part == "quick":
        config.seeds, config.training.epochs, config.training.chunk = 2, 20, 10
        return
    kind, _, name = part.partition("=")
    if kind == "placement":
        config.model.placement = name
    elif kind == "data":
        config.data.name = name
    elif kind in ("fusion", "layer", "encoder"):
        spec = config.model[kind]
        spec.name = name
        with spec.options.unlocked():
            spec.options.update(zoo.options(kind, name))
    else:
        known = ("quick", "fusion=", "placement=", "layer=", "encoder=", "data=")
        raise ValueError(f"config argument {part!r}{zoo.nearest(part, known)}; expected some of {', '.join(known)}")
