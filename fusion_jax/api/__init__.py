"""The few calls a notebook needs; `import fusion_jax as fj` offers them by name and loads nothing before they are used.

study = fj.ablate(data, fusions=["concat_mlp", "gmu"], placements=["before", "after"], seeds=10)
study.answer, study.table(), study.compare(), study.page()
model = study.cell("gmu", "after").model(seed=0)
study = fj.load_study("results/quickstart")
predictor = fj.Predictor.load("results/quickstart", "3f0c")
"""

from fusion_jax.api.ablate import ablate
from fusion_jax.api.loaded import load_data
from fusion_jax.api.study import Study, load_study
from fusion_jax.data import Dataset
from fusion_jax.results.exported import load_exported
from fusion_jax.results.predictor import Predictor

__all__ = ["Dataset", "Predictor", "Study", "ablate", "load_data", "load_exported", "load_study"]
