"""What makes a data set another one, and with it every cell that was trained on it; and what does not."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from fusion_jax import data
from fusion_jax.data import splits
from fusion_jax.data.base import Dataset, Neighbours, Provenance, Split, Splits, edge_set
from fusion_jax.data.fingerprint import fingerprint, split_digest
from fusion_jax.records import Target
from tests import tiny

N = 40
RNG = np.random.default_rng(0)
X = {"b": RNG.normal(size=(N, 4)).astype(np.float32), "a": RNG.normal(size=(N, 3)).astype(np.float32)}
Y = (np.arange(N) % 2).astype(np.int32)
RING = np.arange(N), (np.arange(N) + 1) % N
MASK = np.stack([np.ones(N, bool), np.arange(N) % 5 > 0], 1)
TWO = {name: edge_set(*RING, N, {"weight": np.linspace(1, 2, N, dtype=np.float32)}) for name in ("ring", "other")}
IDS = np.arange(N)
GAPS = {m: np.where(MASK[:, [i]], x, 0) for i, (m, x) in enumerate(X.items())}  # what the mask hides is 0


def dataset(**changes) -> Dataset:
    """Forty nodes whose checksum is given, as that of a set made from files is: it tells nothing of what changes."""
    usual = dict(
        name="toy",
        features=X,
        mask=MASK,
        graphs=TWO,
        target=Target("classes", labels=Y, num_outputs=2),
        splits=splits.fixed(IDS[:20], IDS[20:30], IDS[30:], "fixed"),
        provenance=Provenance("x", "y", "of the files"),
        class_names=("no", "yes"),
        default_graph="ring",
        made={"other": Neighbours(3, (("a",),))},
    )
    return Dataset(**{**usual, **changes})


def changed(array, row, value):
    array = array.copy()
    array[row] = value
    return array


def reweighted(edges, weight):
    return {**TWO, "ring": edge_set(*RING, N, {"weight": weight.astype(np.float32)} if edges is None else edges)}


WEIGHT = np.linspace(1, 2, N, dtype=np.float32)
OTHERS = {
    "split": dict(splits=splits.fixed(IDS[10:30], IDS[:10], IDS[30:], "fixed")),
    "one row of a split": dict(splits=splits.fixed(np.r_[IDS[:19], 30], IDS[20:30], np.r_[19, IDS[31:]], "fixed")),
    "rule of the splits": dict(splits=splits.fixed(IDS[:20], IDS[20:30], IDS[30:], "another")),
    "splits drawn or fixed": dict(splits=Splits(dataset().splits.draw, fixed=False, rule="fixed")),
    "default edge set": dict(default_graph="other"),
    "setting": dict(setting="inductive"),
    "sparse": dict(features={**X, "a": sp.csr_matrix(X["a"])}),
    "width": dict(features={**X, "a": np.pad(X["a"], ((0, 0), (0, 2)))}),
    "order of the modalities": dict(features={"a": X["b"], "b": X["a"]}),
    "names of modalities": dict(features={"b": X["b"], "c": X["a"]}, made={}),
    "features": dict(features={**X, "a": changed(X["a"], 3, 1)}),
    "units": dict(features={**X, "a": 2 * X["a"]}),
    "origin": dict(features={**X, "a": X["a"] + 1000}),
    "rows exchanged": dict(features={**X, "a": X["a"][::-1]}),
    "mask": dict(mask=changed(MASK, 1, [True, False])),
    "mask of nothing but zeros": dict(features=GAPS, mask=np.ones((N, 2), bool)),
    "edges": dict(graphs={**TWO, "ring": edge_set(RING[0], (RING[1] + 1) % N, N, {"weight": WEIGHT})}),
    "an edge": dict(graphs={**TWO, "ring": edge_set(RING[0], changed(RING[1], 3, 9), N, {"weight": WEIGHT})}),
    "edge weights": dict(graphs=reweighted(None, changed(WEIGHT, 7, 1.5))),
    "weights exchanged": dict(graphs=reweighted(None, WEIGHT[::-1])),
    "no edge weights": dict(graphs=reweighted({}, WEIGHT)),
    "names of edge sets": dict(graphs={"ring": TWO["ring"], "new": TWO["other"]}, made={}),
    "neighbours": dict(made={"other": Neighbours(4, (("a",),))}),
    "labels": dict(target=Target("classes", labels=changed(Y, 0, 1), num_outputs=2)),
    "number of classes": dict(target=Target("classes", labels=Y, num_outputs=3), class_names=()),
    "order of the classes": dict(class_names=("yes", "no")),
    "checksum": dict(provenance=Provenance("x", "y", "of other files")),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_decides_numbers_makes_another_cell(name):
    cell = tiny.cell()
    assert cell.identity(dataset(**OTHERS[name])) != cell.identity(dataset())


def values(y, **fields):
    return dataset(
        target=Target("values", values=y[:, None].astype(np.float32), num_outputs=1), class_names=(), **fields
    )


@pytest.mark.parametrize("y", [changed(WEIGHT, 5, 3), WEIGHT[::-1], WEIGHT + 100, 1e-3 * WEIGHT])
def test_target_values_count(y):
    assert values(y).fingerprint != values(WEIGHT).fingerprint
    times = [Target("survival", time=t.astype(np.float32), event=Y > 0) for t in (np.abs(y), WEIGHT)]
    made = [dataset(target=t, class_names=()).fingerprint for t in times]
    assert made[0] != made[1]


FAR = np.random.default_rng(1).normal(size=N)
WIDE = np.stack([1e5 * FAR, FAR[::-1]], 1)  # spreads of two sizes


@pytest.mark.parametrize("origin", [1e6, 1e7])
def test_rows_count_far_from_the_origin_and_in_columns_of_little_spread(origin):
    """A model learns every column in its own unit, so that what is little beside others is not little to it."""

    def of(y):
        y = y.reshape(N, -1)
        return dataset(target=Target("values", values=y, num_outputs=y.shape[1]), class_names=()).fingerprint

    assert of(FAR / 2 + origin) != of(FAR[::-1] / 2 + origin)
    turned, doubled = WIDE * 1, WIDE * [1, 2]
    turned[:, 1] = WIDE[::-1, 1]
    assert len({of(WIDE), of(turned), of(doubled)}) == 3
    far = [dataset(features={**X, "a": (x + 1e6).astype(np.float32)}) for x in (X["a"], X["a"][::-1])]
    assert far[0].fingerprint != far[1].fingerprint


def test_csr_features_count_by_width_pattern_and_values():
    wide = sp.csr_matrix(np.where(X["a"] > 0, X["a"], 0))
    wider = sp.csr_matrix((wide.data, wide.indices, wide.indptr), shape=(N, 4))
    doubled, moved = 2 * wide, wide[:, ::-1]
    made = [dataset(features={**X, "a": sp.csr_matrix(x)}) for x in (wide, wider, doubled, moved)]
    assert len({d.fingerprint for d in made}) == 4
    bare = [dataclasses.replace(d, provenance=Provenance("x", "y")) for d in made[:2]]
    assert bare[0].provenance.checksum != bare[1].provenance.checksum, "the arrays of the two are the same"


def test_a_set_without_a_checksum_counts_every_bit():
    last = np.nextafter(X["a"], np.float32(9))
    bare = [dataset(provenance=Provenance("x", "y"), features={**X, "a": x}) for x in (X["a"], last)]
    assert bare[0].fingerprint != bare[1].fingerprint


def test_last_bits_names_and_masked_slots_do_not_count():
    digits = data.load("digits", missing=0.3)
    rng = np.random.default_rng(0)
    moved = {
        k: np.nextafter(x, np.where(rng.random(x.shape) < 0.5, x, 9).astype(np.float32))
        for k, x in digits.features.items()
    }
    hidden = {k: np.where(digits.mask[:, [m]], x, np.nan) for m, (k, x) in enumerate(moved.items())}
    other = dataclasses.replace(
        digits, name="mine", features=hidden, provenance=Provenance("", "", digits.provenance.checksum)
    )
    assert any(not np.array_equal(moved[k], x) for k, x in digits.features.items())
    assert fingerprint(other) == fingerprint(digits) == data.load("digits", missing=0.3).fingerprint
    shown = sp.csr_matrix(np.where(MASK[:, 1:], X["a"], 0))
    for hidden in (7, np.nan):
        sparse = sp.csr_matrix(np.where(MASK[:, 1:], X["a"], np.float32(hidden)))
        assert dataset(features={**X, "a": sparse}).fingerprint == dataset(features={**X, "a": shown}).fingerprint


def test_what_a_config_leaves_to_the_data_set_counts_as_it_is_used():
    d = dataset()
    written = tiny.cell(data__graph="ring", data__setting="transductive", data__modalities=("b", "a"))
    assert written.identity(d) == tiny.cell().identity(d) != tiny.cell(data__graph="other").identity(d)
    assert tiny.cell(data__modalities=("a", "b")).identity(d) != tiny.cell().identity(d)
    named = dataset(setting="inductive", default_graph="other")
    assert written.identity(named) == written.identity(d), "nothing is left to the data set"
    views = dict(data__views=("ring", "other"))
    assert tiny.cell(**views, data__test_views=("ring", "other")).identity(d) == tiny.cell(**views).identity(d)
    assert tiny.cell(**views, data__test_views=("ring", "ring")).identity(d) != tiny.cell(**views).identity(d)


def test_an_edge_set_without_edges_has_a_fingerprint_too():
    none = np.zeros(0, int)
    empty = edge_set(none, none, N, {"weight": np.zeros(0, np.float32)})
    assert dataset(graphs={**TWO, "ring": empty}).fingerprint != dataset().fingerprint


def test_a_split_that_cannot_be_drawn_is_named():
    d = dataset(splits=splits.per_class(Y, 30, 1))
    with pytest.raises(ValueError, match="data set 'toy', split of seed 0: class 0 has 20 rows, expected at least 32"):
        _ = d.fingerprint


def test_a_split_has_a_digest_of_its_rows_and_parts():
    a, b = np.arange(3), np.arange(3, 6)
    splits_ = ((a, b, b + 3), (b, a, b + 3), (a, b + 3, b), (a[:2], b, b + 3), (a, b, b + 4))
    digests = {split_digest(Split(*parts)) for parts in splits_}
    assert len(digests) == 5
    assert split_digest(Split(a.astype(np.int32), b, b + 3)) == split_digest(Split(a, b, b + 3))


def test_a_control_has_no_dropout_that_could_vary():
    d = dataset()
    varied = ("split", "init", "dropout"), ("split", "init"), ("split",)
    made = [tiny.cell(control__name="rbf_svm", per_seed=vary).identity(d) for vary in varied]
    assert made[0] == made[1] != made[2]


def test_what_came_later_counts_where_it_is_used_and_ids_never():
    first = dataset().fingerprint
    named = dataset(ids=[f"n{i}" for i in range(N)], conversion="said")
    assert named.fingerprint == first
    unlabelled = dataset(labelled=IDS != 35, splits=splits.fixed(IDS[:20], IDS[20:30], np.delete(IDS[30:], 5), "fixed"))
    labelled = dataclasses.replace(unlabelled, labelled=None)
    assert unlabelled.fingerprint != labelled.fingerprint
    gaps = changed(X["a"], (3, 1), np.nan)
    holed = [dataset(features={**X, "a": gaps}, impute=how).fingerprint for how in ("mean", "median")]
    elsewhere = dataset(features={**X, "a": changed(X["a"], (4, 1), np.nan)}, impute="mean").fingerprint
    other = dataset(features={**X, "a": changed(gaps, (7, 0), 5)}, impute="mean").fingerprint
    assert len({first, *holed, elsewhere, other, dataset(impute="mean").fingerprint}) == 6
    for how in (Neighbours(3, (("a",),), "euclidean"), Neighbours(3, (("a",),), mutual=True)):
        assert dataset(made={"other": how}).fingerprint != first
