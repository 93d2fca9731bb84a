"""How much memory a packed file asks for, from its own tables of contents and before any of it is allocated.

A file of kilobytes can unpack to more than any machine has, by mistake or on purpose. What an honest file holds must
fit into memory several times anyway, as a table, as arrays and on the device: half of the machine's is the bound.
"""

from __future__ import annotations

import functools
import io
import math
import os
import zipfile
from typing import Any, BinaryIO

import numpy as np
import pyarrow
from pyarrow import compute, parquet


class TooLarge(ValueError):
    """A file unpacks to more than fits into memory; the message names it."""


@functools.cache
def room() -> int:
    """Bytes that a file may unpack to: half of the machine's memory; 16 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return 2**34


def check(size: int, where: str, what: str = "unpacks to") -> None:
    """Raises TooLarge where that many bytes do not fit; names the file."""
    if size > room():
        raise TooLarge(
            f"{where}: {what} {size / 2**30:,.1f} GiB; expected at most {room() / 2**30:,.1f} GiB, half of the memory "
            "of this machine"
        )


def check_npz(file: Any, where: str) -> None:
    """Checks the arrays of an npz (a path, bytes or an open file) by their headers.

    Raises:
        TooLarge: they do not fit; names the file.
        zipfile.BadZipFile, zlib.error, EOFError, RuntimeError: no zip file, or one that cannot be read.
    """
    total = 0
    with zipfile.ZipFile(io.BytesIO(file) if isinstance(file, bytes) else file) as held:
        for entry in held.infolist():
            size = entry.file_size
            if entry.filename.endswith(".npy"):
                with held.open(entry) as array:
                    size = max(size, _claimed(array))
            total += size
            check(total, where)


def _claimed(file: BinaryIO) -> int:
    """Bytes of the array that a .npy header announces; 0 where it is none, which whoever reads it finds out."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    except ValueError:
        return 0
    return dtype.itemsize * math.prod(shape)  # as Python counts: NumPy's product would wrap around


def check_parquet(file: Any, where: str) -> None:
    """Checks a Parquet file (a path, bytes or an open file) by its footer: rows times columns, and what is packed.

    Texts that are stored once and named in many rows count as often as they are named.

    Raises:
        TooLarge: it does not fit; names the file. pyarrow's own errors, which are ValueErrors, where it is no Parquet.
    """
    with parquet.ParquetFile(io.BytesIO(file) if isinstance(file, bytes) else file) as held:
        about = held.metadata
        groups = [about.row_group(i) for i in range(about.num_row_groups)]
        columns = [(i, g.column(c), g.num_rows) for i, g in enumerate(groups) for c in range(g.num_columns)]
    packed = sum(max(column.total_uncompressed_size, 0) for _, column, _ in columns)
    values = sum(max(column.num_values, rows) for _, column, rows in columns)
    size = packed + 8 * max(values, about.num_rows)  # a number or the place of a text has 8 bytes
    widths = {about.schema.column(c).path: about.schema.column(c).length for c in range(about.num_columns)}
    fixed = [column for _, column, _ in columns if column.physical_type == "FIXED_LEN_BYTE_ARRAY"]
    size += sum(column.num_values * max(widths.get(column.path_in_schema, 0), 0) for column in fixed)
    check(size, where)
    texts = [(group, column) for group, column, _ in columns if column.physical_type == "BYTE_ARRAY"]
    most = sum(column.num_values * max(column.total_uncompressed_size, 0) for _, column in texts)
    if size + most > room():  # else no text can be long enough
        check(size + sum(_named(file, group, column) for group, column in texts), where)


def _named(file: Any, group: int, column: Any) -> int:
    """Bytes of the texts of a column's chunk, each as often as it is named."""
    name = column.path_in_schema
    source = io.BytesIO(file) if isinstance(file, bytes) else file
    with parquet.ParquetFile(source, read_dictionary=[name]) as held:
        read = held.read_row_group(group, columns=[name]).column(0).combine_chunks()
    while pyarrow.types.is_nested(read.type) and not pyarrow.types.is_dictionary(read.type):
        read = read.flatten()
    if not pyarrow.types.is_dictionary(read.type):
        return read.nbytes
    lengths = compute.fill_null(compute.binary_length(read.dictionary), 0).to_numpy(zero_copy_only=False)
    named = compute.drop_null(read.indices).to_numpy()
    return int(np.bincount(named, minlength=len(lengths)) @ lengths.astype(np.int64))


def check_hdf5(path: os.PathLike, where: str) -> None:
    """Checks an HDF5 file (h5ad, h5mu) by the shapes of its data sets.

    Raises:
        TooLarge: they do not fit; names the file. OSError: it is no such file.
    """
    import h5py  # comes with anndata

    sizes = []
    with h5py.File(path, "r") as held:
        held.visititems(lambda _, at: sizes.append(at.nbytes) if isinstance(at, h5py.Dataset) else None)
    check(sum(sizes), where)
