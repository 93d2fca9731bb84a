"""What every merging keeps to, those of a user's own files too; and a fusion of one's own that can be aligned."""

import inspect
import json

import numpy as np
import pytest
from scipy.special import softmax

from fusion_jax import zoo
from fusion_jax.merging import base, merge
from fusion_jax.results.restore import restore
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run, command

EXACT = {"ot_fusion": dict(solver="emd")}  # options under which equal networks have equal neurons: soft maps mix them

RULE = '''
"""A weighted mean of the anchor and the average, for this test."""

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.merging.base import averaged, merged
from fusion_jax.records import Info

INFO = Info("Nobody, A paper", 2001, cost="O(S parameters)")


def toward_the_anchor(parents, anchor, *, share: float = 0.5):
    """share anchor + (1 - share) average."""
    own, mean = (nnx.state(m) for m in (parents[anchor].model, averaged([p.model for p in parents])))
    both = jax.tree.map(lambda a, b: share * a + (1 - share) * b, own, mean)
    return merged(nnx.merge(nnx.graphdef(parents[anchor].model), both), parents, anchor)
'''

FUSION = '''
"""A linear layer a modality, summed, for this test."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.records import Fused, Info


class SummedLinear(Fusion):
    """out = sum_m W x_m."""

    info = Info("Nobody, A paper", 2001, cost="O(N M D^2)")

    def __init__(self, modalities: int, dim: int, *, rngs: nnx.Rngs):
        self.linear = nnx.Linear(dim, dim, use_bias=False, rngs=rngs)

    def nodes(self, x, mask, graph=None, *args, **rest):
        return Fused(jnp.where(mask[..., None], self.linear(x), 0).sum(1))
'''

ALIGN = """
    def align(self, anchor, walk, maps, states):
        return walk.linear((self.linear, anchor.linear), np.mean(maps, axis=0), states.x, states.rows)[0]
"""


@pytest.fixture(scope="module", autouse=True)
def settings():
    with as_users_run():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of a user: a merging, a fusion that cannot be aligned, and one that can."""
    place = tmp_path_factory.mktemp("mine")
    (place / "toward_the_anchor.py").write_text(RULE)
    for name, text in (("plain", FUSION), ("said", FUSION + ALIGN)):
        (place / name).mkdir()
        (place / name / "summed_linear.py").write_text(text)
    return place


@pytest.fixture(scope="module")
def trained(settings, folder, tmp_path_factory):
    fusions = [str(folder / name / "summed_linear.py") for name in ("plain", "said")]
    cells = [tiny_cell(), *(tiny_cell(model__fusion__name=fusion, training__epochs=1) for fusion in fusions)]
    return train_cells(tmp_path_factory.mktemp("merge"), cells)


@pytest.fixture(scope="module")
def family(trained):
    return base.parents_of([restore(trained[0], trained[1][0])])


@pytest.fixture(params=[*zoo.names("merging"), "toward_the_anchor.py"])
def name(request, folder):
    return str(folder / request.param) if zoo.is_path(request.param) else request.param


def test_a_merging_names_its_source_and_its_options(name):
    info, rule = zoo.info("merging", name), zoo.get("merging", name)
    assert info.paper and info.cost and rule.__doc__
    places, options = [], []
    for p in inspect.signature(rule).parameters.values():
        (options if p.kind is p.KEYWORD_ONLY else places).append(p)
    assert [p.name for p in places] == ["parents", "anchor"]
    assert all(p.default is not p.empty for p in options)


def test_a_merging_of_one_network_with_itself_is_that_network(name, family):
    parents, anchor = family
    found = zoo.get("merging", name)([parents[anchor]] * 3, 1, **EXACT.get(name, {}))
    expected = softmax(parents[anchor].prediction, -1)  # logits say the same up to a number a row
    np.testing.assert_allclose(softmax(found.prediction, -1), expected, rtol=1e-4, atol=1e-6)


def test_a_merging_predicts_every_row_and_changes_no_network(name, family):
    parents, anchor = family
    before = [base.leaves(p.model) for p in parents]
    found = zoo.get("merging", name)(parents, anchor)
    assert found.prediction.shape == parents[anchor].prediction.shape and np.isfinite(found.prediction).all()
    again = zoo.get("merging", name)(parents, anchor)
    np.testing.assert_array_equal(found.prediction, again.prediction)
    if found.model is not None:
        assert {k: v.shape for k, v in base.leaves(found.model).items()} == {k: v.shape for k, v in before[0].items()}
    for parent, values in zip(parents, before, strict=True):
        for path, value in base.leaves(parent.model).items():
            np.testing.assert_array_equal(value, values[path])


def test_a_merging_in_a_file_of_ones_own_is_one_file(trained, folder):
    store, identities = trained
    where = [f"--workdir={store.root}", f"--cell={identities[0]}", "--epochs=0"]
    mine = folder / "toward_the_anchor.py"
    status, text = command(
        "experiments.merge", *where, f"--merging=average,{mine}", f"--option={mine}.share=1", "--json"
    )
    assert status == 0, text
    found = json.loads(text)
    rows = {row["name"]: row["accuracy"] for row in found["tables"]["table"]}
    assert rows["toward_the_anchor"] == rows[found["facts"]["anchor"]]
    held = json.loads((store.cell(identities[0]) / "merge" / "merge.json").read_text())
    assert held["options"] == {str(mine): {"share": 1.0}} and held["anchor"] == found["facts"]["anchor"]


def test_a_fusion_in_a_file_of_ones_own_can_be_aligned(trained):
    """Behind the fusion nothing is soft: the hard maps of a network to itself are its own order."""
    store, (_, plain, said) = trained
    with pytest.raises(
        ValueError, match="ot_fusion has no rule for the fusion 'summed_linear'; it knows: concat_linear"
    ):
        merge([restore(store, plain)], ["ot_fusion"], epochs=0)
    parents, anchor = base.parents_of([restore(store, said)])
    one = zoo.get("merging", "ot_fusion")([parents[anchor]] * 2, 0, solver="emd")
    np.testing.assert_allclose(one.prediction, parents[anchor].prediction, rtol=1e-4, atol=1e-5)
    table = merge([restore(store, said)], ["average", "ot_fusion"], epochs=0).tables["table"].set_index("name")
    assert table.log_loss["ot_fusion"] != table.log_loss["average"]


@pytest.mark.parametrize(
    "flags,message",
    [
        (["--merging=averge"], "no merging named 'averge' (did you mean 'average'?)"),
        (["--option=solver=emd"], "--option=solver=emd: expected MERGING.NAME=VALUE"),
        (["--option=ot_fusion.solver"], "expected MERGING.NAME=VALUE"),
        (["--option=ot_fusion.solvr=emd"], "has no option 'solvr' (did you mean 'solver'?)"),
        (["--option=ot_fusion.solver=emf"], "ot_fusion: solver='emf' (did you mean 'emd'?)"),
        (["--option=ot_fusion.samples=many"], "'ot_fusion.samples' is 'many', expected an int"),
        (["--option=ot_fusion.reg=some"], "ot_fusion: reg='some', expected a positive number"),
    ],
)
def test_what_is_misspelt_is_named(trained, flags, message):
    store, identities = trained
    status, text = command("experiments.merge", f"--workdir={store.root}", f"--cell={identities[0]}", *flags)
    assert status == 2 and message in text and len(text.splitlines()) == 1, text


def test_a_merging_by_its_path_has_its_options_under_the_files_name(trained, folder):
    store, identities = trained
    where = f"--workdir={store.root}", f"--cell={identities[0][:8]}", "--epochs=0"
    which = f"--merging={folder}/toward_the_anchor.py"
    status, text = command("experiments.merge", *where, which, "--option=toward_the_anchor.shar=1.0")
    assert status == 2 and "toward_the_anchor.py' has no option 'shar' (did you mean 'share'?)" in text, text
    for name in ("toward_the_anchor", f"{folder}/toward_the_anchor.py"):
        status, text = command("experiments.merge", *where, which, f"--option={name}.share=1.0")
        written = json.loads((store.cell(identities[0]) / "merge" / "merge.json").read_text())
        assert status == 0 and written["options"] == {f"{folder}/toward_the_anchor.py": {"share": 1.0}}, text
        assert written["cells"] == [identities[0]]
