"""What a packed file asks for is known, and refused, before memory is allocated."""

import contextlib
import io
import re
import struct
import zipfile

import h5py
import numpy as np
import pandas as pd
import pyarrow
import pytest
from pyarrow import parquet

from fusion_jax import unpacked
from fusion_jax.data import stored
from fusion_jax.data.making import reading
from tests import tiny


@pytest.fixture
def small(monkeypatch):
    """A machine on which a file may unpack to a MiB."""
    monkeypatch.setattr(unpacked, "room", lambda: 2**20)


def npz(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


def header(shape, dtype="<f8"):
    """A .npy file that announces an array, without its numbers."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def test_half_of_the_memory():
    import psutil

    assert unpacked.room() == pytest.approx(psutil.virtual_memory().total / 2, rel=0.01)


def test_zeros_that_pack_well(small, tmp_path):
    path = npz(tmp_path / "x.npz", x=np.zeros((1000, 200)))
    assert path.stat().st_size < 10_000
    with pytest.raises(unpacked.TooLarge, match=r"x\.npz: unpacks to 0\.0 GiB; expected at most 0\.0 GiB, half of"):
        reading.read(path, "x", by="position")
    fits = npz(tmp_path / "y.npz", x=np.zeros((600, 200)))
    assert len(reading.read(fits, "y", by="position")) == 600
    several = npz(tmp_path / "z.npz", x=np.zeros((600, 100)), a=np.zeros((600, 100)), b=np.zeros((600, 100)))
    with pytest.raises(unpacked.TooLarge):
        unpacked.check_npz(several, "z.npz")


@pytest.mark.parametrize("shape", ["(1000000000000, 8)", "(4294967296, 4294967296, 4294967296)"])
def test_a_header_that_announces_more_than_there_is(tmp_path, shape):
    """The second one's product is 0 in 64 bits."""
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", header(shape))
    with pytest.raises(unpacked.TooLarge, match="GiB; expected at most"):
        reading.read(path, "x", by="position")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array", header("(3,)")[:20], header("oops")])
def test_what_is_no_array_is_said_by_the_reader(tmp_path, content):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", content)
    unpacked.check_npz(path, "x.npz")
    with pytest.raises(ValueError, match=r"^x\.npz: it cannot be read as npz"):
        reading.read(path, "x", by="position")


def test_parquet_of_one_value_many_times(small, tmp_path):
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"id": np.zeros(200_000, np.int8), "a": np.zeros(200_000)}), path)
    assert path.stat().st_size < 50_000
    with pytest.raises(unpacked.TooLarge, match=r"x\.parquet: unpacks to"):
        reading.read(path, "x", by="position")
    parquet.write_table(pyarrow.table({"a": np.zeros(100_000)}), path)
    assert len(reading.read(path, "x", by="position")) == 100_000


def test_parquet_of_long_lists(small):
    lists = pyarrow.array([np.zeros(1000)] * 200)
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table({"a": lists}), buffer)
    with pytest.raises(unpacked.TooLarge):
        unpacked.check_parquet(buffer.getvalue(), "x")


def test_what_is_no_parquet_is_said_by_the_reader(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 or so")
    with pytest.raises(ValueError, match=r"^x\.parquet: it cannot be read as Parquet"):
        reading.read(path, "x")


def test_a_text_file_that_is_larger_than_memory(small, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("id,a\n" + "n,1\n" * 300_000)
    with pytest.raises(unpacked.TooLarge, match=r"x\.csv: has 0\.0 GiB"):
        reading.read(path, "x")


def test_hdf5(small, tmp_path):
    with h5py.File(tmp_path / "x.h5ad", "w") as file:
        file.create_dataset("layers/x", shape=(1000, 200), dtype="f8", compression="gzip")
    with pytest.raises(unpacked.TooLarge, match=r"x\.h5ad: unpacks to"):
        unpacked.check_hdf5(tmp_path / "x.h5ad", "x.h5ad")


def test_a_stored_data_set(monkeypatch):
    content = stored.pack(tiny.dataset())
    assert stored.unpack(content).num_nodes == 60
    monkeypatch.setattr(unpacked, "room", lambda: 1000)
    with pytest.raises(unpacked.TooLarge):
        stored.unpack(content)


def test_predictions_of_a_store_are_counted_as_well(monkeypatch, tmp_path):
    from fusion_jax.results.store import Store

    store = Store(tmp_path, create=True)
    table = pd.DataFrame(dict(seed=[0], part=["test"], metric=["accuracy"], value=[1.0]))
    store.write_part("a" * 16, tiny.cell(seeds=1), (0,), dict(metrics=table), dict(parameters=0))
    assert len(store.table("a" * 16, "metrics")) == 1
    monkeypatch.setattr(unpacked, "room", lambda: 10)
    for read in (store.table, lambda *a: list(store.columns(*a))):
        with pytest.raises(unpacked.TooLarge, match=re.escape("metrics.parquet: unpacks to")):
            read("a" * 16, "metrics")


@pytest.mark.parametrize("kind", ["string", "large_string", "binary", "list"])
def test_a_long_text_that_many_rows_name(small, tmp_path, kind):
    """It is stored once, and would be there once a row."""
    text = b"x" * 2_000 if kind == "binary" else "x" * 2_000
    types = dict(string=pyarrow.string(), large_string=pyarrow.large_string(), binary=pyarrow.binary())
    types["list"] = pyarrow.list_(pyarrow.string())
    held = [[text], None] if kind == "list" else [text, None]
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"a b.c": pyarrow.array(held * 600, types[kind])}), path)
    assert path.stat().st_size < 20_000
    for file in (path, path.read_bytes()):
        with pytest.raises(unpacked.TooLarge, match=r"x\.parquet: unpacks to"):
            unpacked.check_parquet(file, "x.parquet")
    parquet.write_table(pyarrow.table({"a b.c": pyarrow.array(held * 400, types[kind])}), path)
    unpacked.check_parquet(path, "x.parquet")


def test_numbers_and_named_texts_count_together(small, tmp_path):
    """Neither of them is too much by itself."""
    path, numbers = tmp_path / "x.parquet", {f"a{i}": np.zeros(1200) for i in range(80)}
    for table, fits in (
        ({"t": ["x" * 500] * 1200}, True),
        (numbers, True),
        (numbers | {"t": ["x" * 500] * 1200}, False),
    ):
        parquet.write_table(pyarrow.table(table), path)
        with contextlib.nullcontext() if fits else pytest.raises(unpacked.TooLarge):
            unpacked.check_parquet(path, "x.parquet")


@pytest.mark.parametrize("dictionary", [True, False])
def test_bytes_of_one_length_count_as_often_as_they_are_there(small, tmp_path, dictionary):
    path = tmp_path / "x.parquet"
    for rows, fits in ((200, True), (600, False)):
        column = pyarrow.array([b"x" * 2_000] * rows, pyarrow.binary(2_000))
        parquet.write_table(pyarrow.table({"t": column}), path, use_dictionary=dictionary)
        with contextlib.nullcontext() if fits else pytest.raises(unpacked.TooLarge):
            unpacked.check_parquet(path, "x.parquet")


def test_texts_of_every_group_of_rows(small, tmp_path):
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"t": ["x"] * 600 + ["y" * 2_000] * 600}), path, row_group_size=600)
    with pytest.raises(unpacked.TooLarge):
        unpacked.check_parquet(path, "x.parquet")
    named = pyarrow.DictionaryArray.from_arrays(np.zeros(600, np.int32), ["x", "y" * 4_000])  # the second by no row
    parquet.write_table(pyarrow.table({"t": named}), path)
    unpacked.check_parquet(path, "x.parquet")


def test_different_texts_are_as_large_as_they_are(small, tmp_path):
    path = tmp_path / "x.parquet"
    texts = [f"{i}" * 300 for i in range(1000, 2000)]
    parquet.write_table(pyarrow.table({"t": texts}), path, use_dictionary=False, compression="gzip")
    assert path.stat().st_size < 2**18
    with pytest.raises(unpacked.TooLarge):
        unpacked.check_parquet(path, "x.parquet")


def test_a_header_that_announces_less_than_there_is(small, tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", header("(3,)") + b"0" * 2**21)
    with pytest.raises(unpacked.TooLarge):
        unpacked.check_npz(path, "x.npz")


def test_data_sets_of_hdf5_count_together(small, tmp_path):
    with h5py.File(tmp_path / "x.h5ad", "w") as file:
        for name in ("x", "layers/y"):
            file.create_dataset(name, shape=(1000, 80), dtype="f8", compression="gzip")
    with pytest.raises(unpacked.TooLarge):
        unpacked.check_hdf5(tmp_path / "x.h5ad", "x.h5ad")
