"""The defaults of every key, as a study without cells of its own.

    python -m experiments.train --config=configs/base.py --workdir=results/one
    python -m experiments.train --config=configs/base.py:fusion=gmu,placement=after --workdir=results/one

The argument after the colon is a comma-separated list of fusion=, placement=, layer=, encoder=, data= and quick.
Options of whatever is named are set as `--config.model.fusion.options.heads=2`. A key that does not exist is an error.

The keys themselves, each with what it does, stand in `fusion_jax/study/defaults.py`.
"""

from fusion_jax.study.defaults import apply, get_config

__all__ = ["apply", "get_config"]
