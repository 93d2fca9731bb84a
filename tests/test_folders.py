"""Names that lead out of a folder, links in the place of one, and what is no plain file."""

import os

import pytest
from etils import epath

from fusion_jax import folders


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a\\b", "a\0", 3, None])
def test_no_name_of_something_in_a_folder(name):
    assert not folders.is_name(name)


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/..", "./a", "a\\..\\b", None])
def test_paths_that_lead_out_or_are_written_otherwise(path):
    assert not folders.is_inside(path)


def test_paths_inside():
    assert folders.is_name("seeds-0000") and folders.is_name("..a") and folders.is_inside("d/a.b/c")


def test_a_link_is_no_folder_of_ours(tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (tmp_path / "link").symlink_to(foreign)
    with pytest.raises(OSError, match="is a link, expected a folder"):
        folders.made(epath.Path(tmp_path / "link"))
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    with pytest.raises(OSError, match="is a link"):
        folders.made(epath.Path(tmp_path / "nowhere"))
    assert not (tmp_path / "missing").exists()
    assert folders.made(epath.Path(tmp_path / "a" / "b")).is_dir() and folders.made(epath.Path(tmp_path / "a")).is_dir()


def test_what_is_no_plain_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # to read it would wait for ever
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(folders.Damaged, match=f"{name} is no plain file"):
            folders.read(epath.Path(tmp_path / name))
        with pytest.raises(folders.Damaged, match=f"{name} is no plain file"):
            folders.read_checked(epath.Path(tmp_path / name), "0")
    with pytest.raises(FileNotFoundError):
        folders.read(epath.Path(tmp_path / "missing"))
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("loop", "file/below"):
        with pytest.raises(folders.Damaged, match=f"{name} cannot be reached: "):
            folders.read_checked(epath.Path(tmp_path / name), "0")
    assert folders.read(epath.Path(tmp_path / "file")) == folders.read(epath.Path(tmp_path / "link")) == b"abc"


def test_an_address_of_no_storage_that_is_known_is_refused_by_name():
    assert folders.expand("s3://bucket/results") == "s3://bucket/results"
    with pytest.raises(
        ValueError, match=r"'file:///tmp/r': expected the path of a folder, or object storage: gs://, s3"
    ):
        folders.expand("file:///tmp/r")
