"""The width at equal size: within 10 % of the reference row, or a refusal that names the nearest."""

import pytest

from configs.base import get_config
from fusion_jax import study, zoo
from fusion_jax.data import load
from fusion_jax.training.build import model_builder
from fusion_jax.training.match import count_parameters, match_width, nearest_width


def config_of(fusion: str, placement: str = "before"):
    config = get_config()
    config.model.fusion.name, config.model.placement = fusion, placement
    config.model.dim, config.match_params = 32, "concat_mlp"
    return study.resolve(config).config


@pytest.fixture(scope="module")
def build():
    data = load("digits")
    return lambda config: model_builder(config, data)


@pytest.mark.parametrize(
    "fusion, placement",
    [("mean", "before"), ("gmu", "after"), ("self_attention", "interleaved"), ("node_token", "before")],
)
def test_sizes_match(build, fusion, placement):
    config = config_of(fusion, placement)
    budget = count_parameters(build(config_of("concat_mlp")))
    matched = match_width(config, build)
    assert abs(count_parameters(build(matched)) - budget) <= 0.1 * budget
    assert config["model"]["dim"] == 32, "the config given is left as it was"


@pytest.mark.parametrize(
    ("fusion", "placement", "form"),
    [
        ("sum", "before", {"head": "none"}),
        ("late_logits", "decision", {"head": "none"}),
        (
            "mean",
            "before",
            {
                "head": "none",
                "layer.name": "gat",
                "layer.options": {"heads": 8},
                "layer.last": {"heads": 1, "merge": "mean"},
            },
        ),
        ("single", "before", {"head": "none", "encoder.name": "identity", "layers": 3}),
    ],
)
def test_sizes_match_where_layers_lead_to_the_outputs(build, fusion, placement, form):
    def config_with(fusion, placement):
        config = get_config()
        changes = {"fusion.name": fusion, "placement": placement, "dim": 32, **form}
        for key, value in changes.items():
            study.set_key(config, f"model.{key}", value)
        config.match_params, config.data.modalities = "concat_mlp", ("pixels",) if "encoder.name" in form else ()
        return study.resolve(config).config

    budget = count_parameters(build(config_with("concat_mlp", "before")))
    matched = match_width(config_with(fusion, placement), build)
    assert matched["model"]["dim"] != 32
    assert abs(count_parameters(build(matched)) - budget) <= 0.1 * budget


def test_reference_keeps_its_width(build):
    assert match_width(config_of("concat_mlp"), build)["model"]["dim"] == 32


def test_search():
    assert nearest_width(lambda d: d * d, 900) == (30, 900)
    assert nearest_width(lambda d: d * d if d % 4 == 0 else None, 900) == (28, 784)
    assert nearest_width(lambda d: d * d if d % 12 == 0 else None, 150) == (12, 144)


def test_too_coarse_is_refused(build, monkeypatch):
    monkeypatch.setattr("fusion_jax.training.match.TOLERANCE", 1e-9)
    with pytest.raises(ValueError, match="match_params: 'node_token' has .* parameters at D="):
        match_width(config_of("node_token"), build)


def test_every_fusion_has_a_count(build):
    """Sizes are known without computing anything, for the whole catalogue."""
    for name in ("mean", "sum", "late_logits"):
        placement = zoo.get("fusion", name).placements[-1]
        assert count_parameters(build(config_of(name, placement))) > 0
