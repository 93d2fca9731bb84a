"""The reader of pickles takes arrays and nothing else, and runs nothing that a pickle asks for."""

import pickle

import numpy as np
import pytest

from fusion_jax.data.pickles import read_pickle

ARRAY = (  # np.array([3, 1], "<i4") as Python 2 wrote it
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
    b"cnumpy\ndtype\nU\x02i4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    b"U\x08\x03\x00\x00\x00\x01\x00\x00\x00tb."
)
GRAPH = (  # collections.defaultdict(list, {0: [1], 1: [0]})
    b"\x80\x02ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R(K\x00]K\x01aK\x01]K\x00au."
)


class Calls:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_arrays_and_dicts_of_lists_are_read():
    array = read_pickle(ARRAY)
    assert array.dtype == np.int32 and array.tolist() == [3, 1]
    assert read_pickle(GRAPH) == {0: [1], 1: [0]}


def test_bytes_that_python_3_wrote_are_read():
    """Protocol 2 has no bytes: Python 3 writes a call that encodes text, and nothing but latin-1 is encoded."""
    assert read_pickle(pickle.dumps({"a": bytes(range(256))}, 2)) == {"a": bytes(range(256))}
    for call in (b"c_codecs\nencode\n(Va\nVrot13\ntR.", b"c_codecs\nencode\n(I1\nVlatin1\ntR."):
        with pytest.raises(pickle.UnpicklingError, match="refused: .* to be encoded"):
            read_pickle(call)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, protocol):
    mark = tmp_path / "ran"
    for hostile in (Calls(eval, f"open({str(mark)!r}, 'w').close()"), Calls(open, str(mark), "w")):
        data = pickle.dumps({0: [hostile]}, protocol)
        with pytest.raises(pickle.UnpicklingError, match=r"refused: the pickle asks for [\w.]+"):
            read_pickle(data)
    assert not mark.exists()


@pytest.mark.parametrize(
    "call",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"c__builtin__\ngetattr\n(S'a'\nS'upper'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\nfromfile\n(S'x'\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.tofile\n\x93.",
        b"cnumpy.core.multiarray\n_reconstruct\n(c__builtin__\nlist\n(I0\ntS'b'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I1000000000000\ntS'b'\ntR.",
    ],
)
def test_other_globals_and_other_arrays_are_refused(call):
    with pytest.raises(pickle.UnpicklingError):
        read_pickle(call)


def test_the_array_class_cannot_be_called():
    with pytest.raises(TypeError, match="not callable"):
        read_pickle(b"cnumpy\nndarray\n((I1000000000000\ntt" + b"R.")
