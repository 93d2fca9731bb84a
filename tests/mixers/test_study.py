"""The mixer in a config: what counts in a cell's identity, what is refused, a mixer in a file of one's own."""

import json

import numpy as np
import pytest

from fusion_jax import study, zoo
from fusion_jax.model import Model
from fusion_jax.results.rendering.bibliography import used
from fusion_jax.study.layout import of_today
from tests import tiny

MINE = '''
"""All keys alike, for this test."""
import jax.numpy as jnp

from fusion_jax.mixers.base import Mixer
from fusion_jax.records import Info


class Alike(Mixer):
    info = Info("Nobody, A paper")

    def weights(self, keys, q, k, scale, bias):
        return keys.share(jnp.ones_like(keys.pair(q, k)))
'''


@pytest.fixture(autouse=True)
def settings():
    with tiny.as_users_run():
        yield


def cell(name="standard", **changes):
    return tiny.cell(model__fusion__name="self_attention", model__mixer__name=name, **changes)


def test_a_stored_config_of_before_is_one_of_the_standard_mixer():
    config = json.loads(json.dumps(cell().config))
    del config["model"]["mixer"]
    assert of_today(config) == cell().config
    assert study.Cell(config, "", 1).identity("") == cell().identity("")


def test_every_mixer_and_every_choice_of_layers_is_a_cell_of_its_own():
    found = [cell(name).identity("") for name in zoo.names("mixer")]
    found += [cell("approximate", model__mixer__layers=layers).identity("") for layers in ("hybrid", "top")]
    found.append(cell("approximate", model__mixer__options={"form": "printed"}).identity(""))
    assert len(set(found)) == len(found)
    given = cell("approximate", model__mixer__options={"form": "joint"})
    assert given.identity("") == cell("approximate").identity("")


def test_what_is_no_choice_is_refused_by_its_key():
    with pytest.raises(ValueError, match="config key 'model.mixer.layers' is 'hybird'"):
        cell("approximate", model__mixer__layers="hybird")
    with pytest.raises(ValueError, match="config key 'model.mixer.part' is 'readout'"):
        cell("approximate", model__mixer__part="readout")
    with pytest.raises(ValueError, match="mixer 'mlp' has no option 'form'"):
        cell("mlp", model__mixer__options={"form": "joint"})


def test_a_mixer_in_a_file_of_ones_own_trains_and_is_cited(tmp_path):
    (tmp_path / "alike.py").write_text(MINE)
    data, own = tiny.dataset(), cell(str(tmp_path / "alike.py"))
    trained = tiny.trained(own.plan, data, (0,))
    assert np.isfinite(trained.prediction).all()
    assert ("mixer", str(tmp_path / "alike.py")) in used([(own.plan, "classes")])
    assert not [kind for kind, _ in used([(cell().plan, "classes")]) if kind == "mixer"]


@pytest.mark.parametrize("name", ["rnd_emb_qk", "fixed_seq_qk"])
def test_fixed_tokens_are_one_set_a_seed_and_no_step_moves_them(name):
    from flax import nnx

    data, own = tiny.dataset(), cell(name)
    ready = tiny.prepared(own.plan, data, (0, 1))
    trained = tiny.trained(own.plan, data, (0, 1))
    tokens = np.asarray(nnx.to_pure_dict(trained.rest)["mixers"][0]["tokens"])  # [S, M, D]
    assert np.abs(tokens).min(-1).max() > 0 and not np.allclose(tokens[0], tokens[1])
    alone = tiny.trained(own.plan, data, (1,))
    held = np.asarray(nnx.to_pure_dict(alone.rest)["mixers"][0]["tokens"])
    np.testing.assert_allclose(held[0], tokens[1], rtol=1e-5, atol=1e-6)
    assert isinstance(tiny.model(own.plan, data, ready), Model)
