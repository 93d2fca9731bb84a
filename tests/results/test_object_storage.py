"""A study in object storage: an in-memory one stands for the bucket, behind the same paths."""

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fusion_jax.results import report
from fusion_jax.results.restore import restore
from fusion_jax.results.store import Store
from fusion_jax.run.sweep import run
from fusion_jax.training import stopping
from tests import tiny

CELLS = [
    tiny.cell(model__rate=0.2, training__epochs=30, training__chunk=5, training__checkpoint_seconds=0.0),
    tiny.cell(control__name="logistic_regression"),
]


class Bucket(MemoryFileSystem):
    protocol, store, pseudo_dirs = ("gs", "gcs"), {}, [""]

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol("memory://" + path.removeprefix("gs://").lstrip("/"))


@pytest.fixture
def bucket():
    for name in Bucket.protocol:
        fsspec.register_implementation(name, Bucket, clobber=True)
    Bucket.store.clear()
    with tiny.as_users_run():
        yield "gs://bucket/results"
    for name in Bucket.protocol:
        fsspec.register_implementation(name, "gcsfs.GCSFileSystem", clobber=True)  # as it is known otherwise


def stop_at(epoch):
    def told(progress):
        if progress.epoch >= epoch:
            stopping.ask()

    return told


def test_a_study_is_stopped_goes_on_and_is_read(bucket, tmp_path):
    away, here = Store(bucket, create=True), Store(tmp_path / "r", create=True)
    try:
        with pytest.raises(stopping.Stopped):
            run(CELLS, away, "test", progress=stop_at(10))
    finally:
        stopping.forget()
    saved = [name for name in Bucket.store if "/.partial-" in name]
    assert any("step-00000010" in name for name in saved)
    epochs = []
    assert run(CELLS, away, "test", progress=lambda progress: epochs.append(progress.epoch)) == 0
    assert run(CELLS, here, "test") == 0
    assert 5 not in epochs and 30 in epochs, "it went on from the save"
    for entry in here.read_study()["cells"]:
        for name in ("metrics", "predictions"):
            own, other = (list(store.columns(entry["id"], name)) for store in (away, here))
            for a, b in zip(own, other, strict=True):
                assert a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
    identity = here.read_study()["cells"][0]["id"]
    own, other = (restore(store, identity).prediction(0) for store in (away, here))
    np.testing.assert_array_equal(own, other)
    report.written(away)
    written = {name.removeprefix("/bucket/results/") for name in Bucket.store}
    assert {"report/index.html", "report/table.csv", "study.json"} <= written
    assert not [name for name in written if "/.tmp-" in name or "/.partial-" in name or ".probe" in name]
