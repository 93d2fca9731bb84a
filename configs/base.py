"""Every key a study can set, once, with what it does. A study starts from this and changes what it is about.

    python -m experiments.train --config=configs/base.py --workdir=results/one
    python -m experiments.train --config=configs/base.py:fusion=gmu,placement=after --workdir=results/one

The argument after the colon fills in the named mechanism's options, so that each can be changed on the command
line (`--config.model.fusion.options.heads=2`). A key that is not in this file is an error.

The keys themselves, each with what it does, stand in `fusion_jax/study/defaults.py`.
"""

from fusion_jax.study.defaults import apply, get_config

__all__ = ["apply", "get_config"]
