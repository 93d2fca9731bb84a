"""Files as they come: separators, commas, byte marks; and files that are broken, with what is wrong in one line."""

import zipfile

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from fusion_jax.data.making.columns import features
from fusion_jax.data.making.reading import read

PLAIN = "id,a,b\np1,1.5,2\np2,-3,4e-2\n"
WANTED = np.array([[1.5, 2], [-3, 0.04]], np.float32)


def table(tmp_path, content, name="genes.csv", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(path, "unused", **options)


@pytest.mark.parametrize(
    ("content", "name", "note"),
    [
        (PLAIN, "genes.csv", ()),
        (b"\xef\xbb\xbf" + PLAIN.encode(), "genes.csv", ()),
        (PLAIN.replace("\n", "\r\n"), "genes.csv", ()),
        (PLAIN.replace(",", ";"), "genes.csv", ("separated by semicolons",)),
        (PLAIN.replace(",", ";").replace(".", ","), "genes.csv", ("separated by semicolons", "decimal commas")),
        (PLAIN.replace(",", "\t"), "genes.tsv", ()),
        (PLAIN.replace(",", "\t"), "genes.csv", ("separated by tabs",)),
        (PLAIN.replace("p1,", " p1 ,").replace("a,b", " a , b "), "genes.csv", ()),
        ("a,b\np1,1.5,2\np2,-3,4e-2\n", "genes.csv", ()),  # as R writes row names
        ("id,a,b,\np1,1.5,2,\np2,-3,4e-2,\n", "genes.csv", ()),  # a separator at the end of every line
        (PLAIN + "\n\n", "genes.csv", ()),
        ('"id","a","b"\n"p1","1.5","2"\n"p2","-3","4e-2"\n', "genes.csv", ()),
        (
            "x,id,a\n1,p1,1\n2,p2,2\n".replace("x,id,a", "a,id,b")
            .replace("1,p1,1", "1.5,p1,2")
            .replace("2,p2,2", "-3,p2,.04"),
            "genes.csv",
            (),
        ),
    ],
)
def test_a_file_is_read_however_it_is_written(tmp_path, content, name, note):
    made = table(tmp_path, content, name)
    assert made.ids == ["p1", "p2"] and made.notes == note and made.where == name
    x, names = features(made)
    np.testing.assert_array_equal(x, WANTED)
    assert names == ["a", "b"]


def test_ids_stay_as_they_are_written(tmp_path):
    text = "id,a\n007,1\n7,2\n7.0,3\nNA,4\n123456789012345678901234567890,5\n1e5,6\n"
    assert table(tmp_path, text).ids == ["007", "7", "7.0", "NA", "123456789012345678901234567890", "1e5"]
    frame = pd.DataFrame(dict(id=[1.0, 2.0, 10.0], a=[1, 2, 3]))
    assert read(frame, "genes").ids == ["1", "2", "10"]


def test_numbers_are_read_exactly_and_missing_ones_are_missing(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=50) * 10.0 ** rng.integers(-30, 30, 50)
    gaps = ["", "NA", "nan", "1", "null"] * 10
    text = "id,a,b\n" + "".join(f"n{i},{v!r},{gap}\n" for i, (v, gap) in enumerate(zip(x.tolist(), gaps, strict=True)))
    frame = table(tmp_path, text).frame
    np.testing.assert_array_equal(frame["a"].to_numpy(), x)
    assert frame["b"].isna().sum() == 40


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "genes.csv", "genes.csv: the file is empty; expected a line of names"),
        ("\n\n", "genes.csv", "genes.csv: the file is empty"),
        ("id,a,b\n", "genes.csv", "genes.csv: no rows below the line of names"),
        (
            "id,a\np1,1\np1,2\n",
            "genes.csv",
            r"genes.csv, column 'id', line 3: id 'p1' stands in line 2 too",
        ),
        ("id,a\np1,1\n p1 ,2\n", "genes.csv", "id 'p1' stands in line 2"),
        ("id,a\np1,1\n,2\n", "genes.csv", "genes.csv, column 'id', line 3: no id; expected one in every row"),
        (f"id,a\n{'x' * 2000},1\n", "genes.csv", "an id of 2,000 characters"),
        ("id,a,b\np1,1,2\np2,1,2,3\n", "genes.csv", "genes.csv: Expected 3 fields in line 3, saw 4"),
        ("id,a,b\np1,1,2\np2\n", "genes.csv", "genes.csv, line 3: 1 field; expected 3, as in line 1"),
        ("id,a,b\np1,1,2\np2,1\n", "genes.csv", "genes.csv, line 3: 2 fields; expected 3, as in line 1"),
        ("id,a,b\np1,1\n", "genes.csv", "genes.csv, line 2: 2 fields; expected 3"),
        ("id,a,b\np1,1,2,3,4\n", "genes.csv", "genes.csv, line 2: 5 fields; expected 3"),
        (b"id,a\np\xe9,1\n", "genes.csv", "genes.csv: byte 0xe9 is no text in UTF-8"),
        ("id,a\np1,1\n".encode("utf-16"), "genes.csv", "genes.csv: byte 0xff is no text in UTF-8"),
        ("0.12,3.5\n0.77,1.5\n", "genes.csv", "genes.csv: no column of ids: the first, '0.12', holds 0.77"),
        (
            b"id,a\np1,1\np2,2\0\n",
            "genes.csv",
            "genes.csv, line 3: byte 0x00 is no text; expected a text file, in UTF-8",
        ),
        (b"PK\x03\x04", "genes.xlsx", "genes.xlsx: unknown kind of file '.xlsx'; expected .csv, .tsv, .parquet, .npz"),
        (b"no such thing", "genes.parquet", "genes.parquet: it cannot be read as Parquet"),
        (b"no such thing", "genes.npz", "genes.npz: it .*(cannot be read as npz|Python objects)"),
        (b"PK\x03\x04 broken", "genes.npz", "genes.npz: it cannot be read as npz"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path, content, name, message):
    with pytest.raises(ValueError, match=message) as found:
        table(tmp_path, content, name)
    assert "\n" not in str(found.value)


def test_every_column_has_a_name_of_its_own(tmp_path):
    made = table(tmp_path, "id,a,a,,a,a.1,\np1,1,2,3,4,5,6\n", text=True)
    assert list(made.frame) == ["a", "a.1", "Unnamed 3", "a.2", "a.1.1", "Unnamed 6"] and made.ids == ["p1"]
    assert table(tmp_path, ",a\np1,1\n", text=True).ids == ["p1"], "the first without a name holds the ids"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="genes.csv: no such file"):
        read(tmp_path / "genes.csv", "x")


def test_parquet_keeps_its_index_or_its_column_of_ids(tmp_path):
    frame = pd.DataFrame(WANTED, index=["p1", "p2"], columns=["a", "b"])
    frame.to_parquet(tmp_path / "one.parquet")
    frame.rename_axis("sample").reset_index().to_parquet(tmp_path / "two.parquet")
    for name in ("one", "two"):
        made = read(tmp_path / f"{name}.parquet", "x")
        assert made.ids == ["p1", "p2"]
        np.testing.assert_array_equal(features(made)[0], WANTED)


def test_npz_with_ids_and_without_objects(tmp_path):
    np.savez(tmp_path / "one.npz", x=WANTED, ids=["p1", "p2"], columns=["a", "b"])
    made = read(tmp_path / "one.npz", "x")
    assert made.ids == ["p1", "p2"] and features(made)[1] == ["a", "b"]
    np.savez(tmp_path / "two.npz", anything=WANTED)
    with pytest.raises(ValueError, match="two.npz: no column of ids"):
        read(tmp_path / "two.npz", "x")
    np.testing.assert_array_equal(features(read(tmp_path / "two.npz", "x", by="position"))[0], WANTED)
    np.savez(tmp_path / "three.npz", x=WANTED, ids=np.array(["p1", "p2"], dtype=object))
    with pytest.raises(ValueError, match="three.npz: it holds Python objects, which are not loaded"):
        read(tmp_path / "three.npz", "x")
    np.savez(tmp_path / "four.npz", x=WANTED, ids=["p1"])
    with pytest.raises(ValueError, match=r"four.npz: ids \(1,\) beside x \(2, 2\); expected \(2,\)"):
        read(tmp_path / "four.npz", "x")
    sp.save_npz(tmp_path / "five.npz", sp.csr_matrix(WANTED))
    np.testing.assert_array_equal(read(tmp_path / "five.npz", "x", by="position").frame.toarray(), WANTED)


def test_ids_are_where_they_are_said_to_be_or_where_names_say(tmp_path):
    text = "x,index,code\n1,i1,c1\n2,i2,c2\n"
    assert table(tmp_path, text).ids == ["i1", "i2"]
    assert table(tmp_path, text, id="code").ids == ["c1", "c2"]
    assert table(tmp_path, "sample,x\ns1,1\ns2,2\n").ids == ["s1", "s2"]
    with pytest.raises(ValueError, match="genes.csv: no column 'sampel'; it has: sample, x"):
        table(tmp_path, "sample,x\ns1,1\n", id="sampel")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_decimal_commas_of_labels_and_weights_are_numbers(tmp_path, separator):
    text = "id,y,kind\np1,3_14,1_5x\np2,2,b\np3,NA,c\n".replace(",", separator).replace("_", ",")
    made = table(tmp_path, text, "labels.csv", text=True)
    assert made.frame["y"].tolist() == ["3.14", "2", "NA"] and made.frame["kind"][0] == "1,5x"
    assert "decimal commas in 'y'" in made.notes


def test_a_comma_in_a_field_of_a_file_that_commas_separate_stays(tmp_path):
    made = table(tmp_path, 'id,y\np1,"3,14"\np2,"2,5"\n', "labels.csv", text=True)
    assert made.frame["y"].tolist() == ["3,14", "2,5"]


def test_ids_in_bytes_are_their_texts(tmp_path):
    np.savez(tmp_path / "x.npz", x=WANTED, ids=np.array([b"p1", "p\u00e9".encode()]))
    assert read(tmp_path / "x.npz", "x").ids == ["p1", "p\u00e9"]
    assert read(pd.DataFrame(dict(id=[b"a", b"b"], x=[1.0, 2])), "x").ids == ["a", "b"]


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("packed", [False, True])
def test_an_npz_that_was_damaged_on_its_way_is_named(tmp_path, place, packed):
    path = tmp_path / "genes.npz"
    save = np.savez_compressed if packed else np.savez
    save(path, x=np.random.default_rng(0).normal(size=(40, 5)), ids=[f"p{i}" for i in range(40)])
    content = bytearray(path.read_bytes())
    at = int(place * (len(content) - 30))
    content[at : at + 20] = bytes(255 - byte for byte in content[at : at + 20])
    path.write_bytes(content)
    with pytest.raises(ValueError, match="genes.npz: it .*(cannot be read|Python objects)") as found:
        read(path, "x")
    assert "\n" not in str(found.value)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="genes.npz: it .*cannot be read as npz"):
        read(path, "x")


def test_a_zip_of_something_else_is_no_npz(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        file.writestr("x.npy", "garbage")
    with pytest.raises(ValueError, match=r"x\.npz: it cannot be read as npz \(x is no array\)"):
        read(tmp_path / "x.npz", "x")


def test_a_number_with_a_point_anywhere_is_no_file_of_decimal_commas(tmp_path):
    frame = table(tmp_path, "id\ta\tb\nx\t1.5\t1,5\ny\t2.5\t1,234\n", "genes.tsv").frame
    assert frame["a"].tolist() == [1.5, 2.5]
