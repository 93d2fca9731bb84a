"""The width at equal size: within 10 % of the reference row, or a refusal that names the nearest."""

import dataclasses
import functools

import numpy as np
import pytest

from configs.base import get_config
from fusion_jax import study, zoo
from fusion_jax.data import load
from fusion_jax.plan import Plan, SizePlan
from fusion_jax.run.size import at_its_size
from fusion_jax.training.match import count_parameters, nearest_width
from tests import tiny


def plan_of(fusion: str, placement: str = "before") -> Plan:
    config = get_config()
    config.model.fusion.name, config.model.placement = fusion, placement
    config.model.dim, config.size.like = 32, "concat_mlp"
    return study.resolve(config).plan


@pytest.fixture(scope="module")
def data():
    return load("digits")


@pytest.fixture(scope="module")
def size(data):
    """The number of parameters of a plan's model on the data set, whose modalities are all used or the first alone."""

    def of(plan: Plan) -> int:
        names = plan.data.modalities or data.features
        dims = {name: data.features[name].shape[1] for name in names}
        return count_parameters(functools.partial(tiny.model_of, plan, data.target, dims))

    return of


@pytest.mark.parametrize(
    "fusion, placement",
    [("mean", "before"), ("gmu", "after"), ("self_attention", "interleaved"), ("node_token", "before")],
)
def test_sizes_match(data, size, fusion, placement):
    plan = plan_of(fusion, placement)
    budget = size(plan_of("concat_mlp"))
    matched = at_its_size(plan, data)
    assert abs(size(matched) - budget) <= 0.1 * budget
    assert plan.model.dim == 32, "the plan given is left as it was"


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
def test_sizes_match_where_layers_lead_to_the_outputs(data, size, fusion, placement, form):
    def plan_with(fusion, placement):
        config = get_config()
        changes = {"fusion.name": fusion, "placement": placement, "dim": 32, **form}
        for key, value in changes.items():
            study.set_key(config, f"model.{key}", value)
        config.size.like, config.data.modalities = "concat_mlp", ("pixels",) if "encoder.name" in form else ()
        return study.resolve(config).plan

    budget = size(plan_with("concat_mlp", "before"))
    matched = at_its_size(plan_with(fusion, placement), data)
    assert matched.model.dim != 32
    assert abs(size(matched) - budget) <= 0.1 * budget


def test_reference_keeps_its_width(data):
    assert at_its_size(plan_of("concat_mlp"), data).model.dim == 32


def test_a_number_of_parameters_can_be_asked_for(data, size):
    plan = plan_of("gmu")
    for budget in (5_000, 50_000):
        matched = at_its_size(dataclasses.replace(plan, size=SizePlan(parameters=budget)), data)
        assert abs(size(matched) - budget) <= 0.1 * budget
    assert at_its_size(dataclasses.replace(plan, size=SizePlan()), data) == dataclasses.replace(plan, size=SizePlan())
    with pytest.raises(
        ValueError, match="size.parameters: 'gmu' has .* parameters at D=1, the nearest to 10; expected"
    ):
        at_its_size(dataclasses.replace(plan, size=SizePlan(parameters=10)), data)


def test_search():
    assert nearest_width(lambda d: d * d, 900) == (30, 900)
    assert nearest_width(lambda d: d * d if d % 4 == 0 else None, 900) == (28, 784)
    assert nearest_width(lambda d: d * d if d % 12 == 0 else None, 150) == (12, 144)


def test_too_coarse_is_refused(data, monkeypatch):
    monkeypatch.setattr("fusion_jax.training.match.TOLERANCE", 1e-9)
    with pytest.raises(ValueError, match="size.like: 'node_token' has .* parameters at D="):
        at_its_size(plan_of("node_token"), data)


def test_every_fusion_has_a_count(size):
    """Sizes are known without computing anything, for the whole catalogue."""
    for name in ("mean", "sum", "late_logits"):
        placement = zoo.get("fusion", name).placements[-1]
        assert size(plan_of(name, placement)) > 0


@pytest.mark.parametrize("seed", range(40))
def test_the_nearest_of_all_widths_is_found_in_few_looks(seed):
    """Counts of models as they are, a + b D + c D^2 at multiples of the heads, and one that no such curve fits."""
    rng, looked = np.random.default_rng(seed), []
    a, b, c = rng.integers(0, 20_000), rng.integers(1, 600), rng.choice([0, 0.5, 2, 10, 60])
    heads, budget, bent = int(rng.choice([1, 2, 3, 8])), int(rng.integers(1, 200_000)), seed % 4 == 0

    def size(dim: int) -> int:
        return int(a + b * dim + c * dim**2 + bent * 5_000 * (dim // 16))

    def count(dim: int) -> int | None:
        if dim % heads:
            return None
        looked.append(dim)
        return size(dim)

    dim, found = nearest_width(count, budget)
    assert found == size(dim) and dim % heads == 0
    assert abs(found - budget) == min(abs(size(d) - budget) for d in range(heads, 1025, heads))
    assert len(looked) <= 17
