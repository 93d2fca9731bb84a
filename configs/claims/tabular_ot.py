"""Transformers for tabular data by optimal transport (Quadrio and Candelieri, 2025): a map in the place of attention.

The paper says that a small network which learns the optimal transport from the data of each class to Gaussians at known
places is about as accurate as a transformer, at less cost, where inputs are standardised. Asked of the paper's map
against the paper's encoder, of as many parameters.
"""

from fusion_jax.study.claim_files import minutes

OF = (("fusion", "tabular_ot"), ("scheme", "tabular_ot"))
SETTING = (
    "Planted tables (synthetic without a graph, 800 rows, three modalities with a shared and an own symbol: the best "
    "classifier .72), one point a row, 4,400 parameters, AdamW at 1e-2 full-batch; the paper has time series of "
    "simulated Gaussians and EEG, a point a time step, and batches of a tenth for the map."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic",
        "data.options": dict(nodes=800, redundant=0.5, unique=0.3, synergy=0.0, degree=0, train=0.5),
        "data.scale": "column",
        "model.layer.name": "none",
        "model.layers": 1,
        "model.rate": 0.0,
        "optimizer.learning_rate": 1e-2,
    }
    return minutes(arg, changes, epochs=120)


def sweep(add):
    add({"scheme.name": "tabular_ot", "scheme.options": {"hidden": (32, 32)}}, label="transport")
    encoder = {"model.fusion.name": "tabular_ot", "model.fusion.options": {"blocks": 2, "heads": 2, "size": 8}}
    add(encoder | {"size.parameters": 4_400}, label="transformer")


def claims():
    claim = "a map to Gaussians by transport is as good as a transformer"
    return [dict(claim=claim, better="transport", than="transformer", equivalent=0.03)]
