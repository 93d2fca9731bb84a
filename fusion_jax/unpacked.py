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
from pyarrow import parquet


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

    Raises:
        TooLarge: it does not fit; names the file. pyarrow's own errors, which are ValueErrors, where it is no Parquet.
    """
    with parquet.ParquetFile(io.BytesIO(file) if isinstance(file, bytes) else file) as held:
        about = held.metadata
        groups = [about.row_group(i) for i in range(about.num_row_groups)]
        packed = sum(g.column(c).total_uncompressed_size for g in groups for c in range(g.num_columns))
        values = sum(max(g.column(c).num_values, g.num_rows) for g in groups for c in range(g.num_columns))
    check(max(packed, 0) + 8 * max(values, about.num_rows), where)  # a number or the place of a text has 8 bytes


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
