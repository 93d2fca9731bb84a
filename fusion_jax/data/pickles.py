"""Reads pickles that hold arrays and plain containers; whatever else one asks for is refused, not imported."""

from __future__ import annotations

import io
import pickle

import numpy as np
import scipy.sparse as sp


def read_pickle(data: bytes):
    """A pickle of arrays, CSR matrices, numbers, text, lists and dicts of them, and of nothing else.

    What Python 2 wrote as `str` is read as latin-1, which keeps its bytes.

    Raises:
        pickle.UnpicklingError: it names any other global; nothing of it is imported or called.
    """
    value = _Unpickler(io.BytesIO(data), encoding="latin1").load()
    if isinstance(value, _Csr):
        return sp.csr_matrix((value.data, value.indices, value.indptr), shape=value._shape)
    return value


_NDARRAY = object()  # stands for the class, so that a pickle can name it but not call it


class _Csr:
    """Holds the attributes of a pickled CSR matrix."""


def _reconstruct(subtype, shape: tuple, code) -> np.ndarray:
    """NumPy's own makes an array of any class and shape; an honest pickle asks for an empty one."""
    del code
    if subtype is not _NDARRAY or tuple(shape) != (0,):
        raise pickle.UnpicklingError(f"refused: an array of shape {shape!r} and of an unusual class")
    return np.empty(0, np.int8)


def _dict(factory: type) -> dict:
    del factory  # a default would only turn a missing node into a new one
    return {}


def _bytes(text: str, encoding: str) -> bytes:
    """What Python 3 writes for bytes where the protocol has none (below 3): their latin-1 text, to be encoded."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"refused: {type(text).__name__} to be encoded as {encoding!r}")
    return text.encode("latin1")


_ADMITTED = {
    ("scipy.sparse.csr", "csr_matrix"): _Csr,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): np.dtype,
    ("collections", "defaultdict"): _dict,
    ("__builtin__", "list"): list,
    ("_codecs", "encode"): _bytes,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"refused: the pickle asks for {module}.{name}; no array needs it")
        return _ADMITTED[module, name]
