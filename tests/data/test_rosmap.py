"""ROSMAP against the figures known of it, and its graphs against those of the authors' code."""

import os
import pathlib

import numpy as np
import pytest

from fusion_jax import data
from fusion_jax.data import files
from tests.data.linear import accuracy, loads_again, present


def golden() -> pathlib.Path | None:
    """The graphs of the authors' MOGONET code, which are too large to ship."""
    roots = [pathlib.Path(p) for p in os.environ.get("FUSION_JAX_GOLDEN", "").split(os.pathsep) if p]
    places = [root / "mogonet-rosmap" / "graph.npz" for root in (*roots, files.CHECKOUT.parent / "shared" / "golden")]
    return next((p for p in places if p.is_file()), None)


@pytest.fixture(scope="module")
def rosmap():
    return present("rosmap")


def test_rosmap_holds_the_published_split(rosmap):
    y, split = rosmap.target.labels, rosmap.split(0)
    training = np.sort(np.concatenate([split.train, split.val]))
    assert np.array_equal(training, np.arange(245)) and np.array_equal(split.test, np.arange(245, 351))
    assert (np.bincount(y[training]).tolist(), np.bincount(y[split.test]).tolist()) == ([118, 127], [51, 55])
    assert np.bincount(y[split.val]).tolist() == [24, 25]
    assert not np.array_equal(split.val, rosmap.split(1).val)
    assert all(x.shape == (351, 200) and 0 <= x.min() <= x.max() <= 1 for x in rosmap.features.values())


def test_rosmap_figures_of_logistic_regression(rosmap):
    views = [*map(np.float64, rosmap.features.values())]
    views.append(np.concatenate(views, axis=1))
    y, training, test = rosmap.target.labels, np.arange(245), np.arange(245, 351)
    for c, published in ((1, [0.7358, 0.7170, 0.6792, 0.7925]), (0.01, [0.8208, 0.6604, 0.7075, 0.8113])):
        scores = [accuracy(x, y, training, test, c=c) for x in views]
        np.testing.assert_allclose(scores, published, atol=1 / 106 + 1e-4)  # one patient


def test_rosmap_has_the_graphs_of_the_authors_code(rosmap):
    alone = []
    for name, across in zip(rosmap.features, (131, 96, 53), strict=True):
        g, t = rosmap.graphs[f"mogonet_{name}"], rosmap.graphs[f"mogonet_test_{name}"]
        training = (g.senders < 245) & (g.receivers < 245)
        assert (training.sum(), len(t.senders)) == (246, 2 * across)
        assert len(g.senders) == 246 + 2 * across
        assert np.all((t.senders < 245) != (t.receivers < 245))
        alone.append((245 - len(np.unique(g.receivers[training])), 106 - np.sum(np.unique(t.receivers) >= 245)))
    assert alone == [(162, 64), (153, 69), (202, 87)]


def test_rosmap_edges_among_training_patients_do_not_depend_on_test_patients(rosmap):
    """So these edge sets can stay as they are in the inductive setting."""
    rng = np.random.default_rng(0)
    for name, x in rosmap.features.items():
        x, changed = x.astype(float), x.astype(float)
        changed[245:] = rng.random((106, 200))
        found = []
        for features in (x, changed):
            g = data.module("rosmap").mogonet_graphs(name, features)[0]
            training = (g.senders < 245) & (g.receivers < 245)
            found.append([g.senders[training], g.receivers[training], g.edges["weight"][training]])
        assert len(found[0][0]) > 200
        for a, b in zip(*found, strict=True):
            np.testing.assert_array_equal(a, b)


def test_rosmap_graphs_equal_the_golden_ones(rosmap):
    if golden() is None:
        pytest.skip("mogonet-rosmap/graph.npz is not in FUSION_JAX_GOLDEN or ../shared/golden")

    def normalised(graph, n, keep):
        a = np.eye(n)
        a[graph.receivers[keep], graph.senders[keep]] = graph.edges["weight"][keep]
        return a / a.sum(1, keepdims=True)

    with np.load(golden()) as case:
        assert np.array_equal(case["labels"], rosmap.target.labels)
        for k, name in enumerate(rosmap.features, 1):
            g, t = rosmap.graphs[f"mogonet_{name}"], rosmap.graphs[f"mogonet_test_{name}"]
            training = (g.senders < 245) & (g.receivers < 245)
            for kind, ours in (
                ("train", normalised(g, 245, training)),
                ("all", normalised(t, 351, np.ones(len(t.senders), bool))),
            ):
                theirs = np.zeros_like(ours)
                theirs[case[f"adj{k}_{kind}_rows"], case[f"adj{k}_{kind}_cols"]] = case[f"adj{k}_{kind}_vals"]
                np.testing.assert_allclose(ours, theirs, atol=1e-6)  # theirs is float32
                assert np.array_equal(ours > 0, theirs > 0)


def test_a_file_of_another_content_is_refused(rosmap, tmp_path, monkeypatch):
    del rosmap
    (tmp_path / "rosmap").mkdir()
    wanted = data.module("rosmap").FILES
    original = wanted.find("labels_te.csv").read_bytes()
    (tmp_path / "rosmap" / "labels_te.csv").write_bytes(original[:-1])
    monkeypatch.setenv("FUSION_JAX_DATA", os.pathsep.join(map(str, (tmp_path, *files.roots()))))
    with pytest.raises(ValueError, match=r"labels_te.csv: sha256 is [0-9a-f]{64}, expected 20d728c6"):
        data.load("rosmap")


def test_two_loads_are_equal_and_the_checksum_is_of_the_files(rosmap):
    loads_again(rosmap)


def test_options_change_what_they_say(rosmap):
    del rosmap
    d = data.load("rosmap", val_fraction=0.1, neighbours=2)
    assert len(d.split(0).val) == 25 and len(d.graphs["knn"].senders) < 2 * 351 * 2


def test_its_numbers_stay(rosmap):
    """Finished results are of these: another fingerprint makes it another data set."""
    assert rosmap.fingerprint.startswith("e252890498f3")
