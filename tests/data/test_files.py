"""Files are found in the stated order, downloaded otherwise, and never taken unchecked."""

import hashlib
import http.server
import os
import threading

import pytest

from fusion_jax.data import files
from fusion_jax.data.files import Files

GOOD = b"1,2,3\n" * 1000
SET = Files("toy", "owner/name", "c0ffee", "raw/data", {"a.csv": hashlib.sha256(GOOD).hexdigest()})


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """An empty checkout and an empty home; `named` is in FUSION_JAX_DATA."""
    monkeypatch.setattr(files, "CHECKOUT", tmp_path / "work" / "checkout")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FUSION_JAX_DATA", os.pathsep.join([str(tmp_path / "absent"), str(tmp_path / "named")]))
    monkeypatch.setattr(files, "RAW", "http://127.0.0.1:1")  # nobody listens there
    files.own_folder.cache_clear()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return dict(
        named=tmp_path / "named" / "toy",
        beside=tmp_path / "work" / "shared" / "data" / "toy",
        cache=tmp_path / "cache" / "fusion_jax" / "data" / "toy",
    )


@pytest.fixture
def server(folders, monkeypatch):
    """A server on loopback; `answer` is (status, announced length, body)."""
    state = dict(answer=(200, len(GOOD), GOOD), asked=[])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, length, body = state["answer"]
            state["asked"].append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            del args

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(files, "RAW", f"http://127.0.0.1:{running.server_port}")
    yield state
    running.shutdown()
    running.server_close()
    thread.join()


def put(folder, content=GOOD):
    folder.mkdir(parents=True)
    (folder / "a.csv").write_bytes(content)
    return folder / "a.csv"


def left(folder) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


def test_named_folders_come_before_shared_and_shared_before_the_cache(folders):
    for place in ("cache", "beside", "named"):
        path = put(folders[place])
        assert SET.get("a.csv") == path


def test_a_download_is_checked_and_kept(server, folders):
    assert SET.get("a.csv") == folders["cache"] / "a.csv"
    assert (folders["cache"] / "a.csv").read_bytes() == GOOD
    assert SET.get("a.csv").read_bytes() == GOOD
    assert server["asked"] == ["/owner/name/c0ffee/raw/data/a.csv"]  # the second time it was found
    assert left(folders["cache"]) == ["a.csv"]


@pytest.mark.parametrize(
    ("length", "body", "message"),
    [
        (len(GOOD), GOOD[:-7], r"gave 5993 bytes of 6000 announced with sha256"),
        (len(GOOD) - 7, GOOD[:-7], r"gave 5993 bytes with sha256"),
        (len(GOOD), b"x" + GOOD[1:], r"gave 6000 bytes with sha256"),
        (0, b"", r"gave 0 bytes with sha256"),
    ],
    ids=["cut short", "truncated at the source", "altered", "empty"],
)
def test_a_bad_download_leaves_nothing_behind(server, folders, length, body, message):
    server["answer"] = (200, length, body)
    with pytest.raises(ValueError, match=message) as error:
        SET.get("a.csv")
    for part in ("toy/a.csv", hashlib.sha256(body).hexdigest(), SET.sha256["a.csv"], str(folders["cache"])):
        assert part in str(error.value)
    assert left(folders["cache"]) == []
    server["answer"] = (200, len(GOOD), GOOD)
    assert SET.get("a.csv").read_bytes() == GOOD


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_not_a_failed_download(server, folders, monkeypatch):
    def full(self, name, out):
        with open("/dev/full", "wb", buffering=0) as disk:
            return real(self, name, disk)

    real = Files._fetch
    monkeypatch.setattr(Files, "_fetch", full)
    with pytest.raises(OSError, match="No space left.*a.csv") as error:
        SET.get("a.csv")
    assert not isinstance(error.value, FileNotFoundError) and left(folders["cache"]) == []


def test_a_page_that_is_not_there(server, folders):
    server["answer"] = (404, 0, b"")
    with pytest.raises(FileNotFoundError, match="HTTP Error 404"):
        SET.get("a.csv")
    assert left(folders["cache"]) == []


def test_without_a_network_the_error_says_what_to_do(folders):
    with pytest.raises(FileNotFoundError, match="toy/a.csv is in none of") as error:
        SET.get("a.csv")
    for part in (
        str(folders["named"].parent),
        str(folders["beside"].parent),
        "http://127.0.0.1:1/owner/name/c0ffee/raw/data/a.csv",
        SET.sha256["a.csv"],
        f"put it at {folders['cache'] / 'a.csv'}",
        "FOLDER/toy/a.csv with the environment variable FUSION_JAX_DATA=FOLDER",
    ):
        assert part in str(error.value)
    assert left(folders["cache"]) == []


def test_a_found_file_is_checked_and_left_alone(folders):
    path = put(folders["named"], b"other")
    with pytest.raises(ValueError, match="damaged or of another version") as error:
        SET.get("a.csv")
    for part in (str(path), hashlib.sha256(b"other").hexdigest(), SET.sha256["a.csv"]):
        assert part in str(error.value)
    assert path.read_bytes() == b"other"
    path.write_bytes(GOOD)
    assert SET.get("a.csv") == path
    path.write_bytes(GOOD + b"more")  # changed after it was found good
    with pytest.raises(ValueError, match="sha256"):
        SET.get("a.csv")


def test_a_file_is_read_once_a_process(folders, monkeypatch):
    put(folders["named"])
    SET.get("a.csv")
    monkeypatch.setattr(files.hashlib, "file_digest", None)  # would fail if called
    SET.get("a.csv")


def test_the_checksum_of_a_set_depends_on_every_file():
    one = Files("f", "o/n", "c", "", {"a": "1", "b": "2"})
    assert one.url("a") == f"{files.RAW}/o/n/c/a"
    assert one.checksum == Files("g", "o/n", "d", "p", {"b": "2", "a": "1"}).checksum
    assert one.checksum != Files("f", "o/n", "c", "", {"a": "2", "b": "1"}).checksum


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(server, folders, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.warns(UserWarning, match="downloads are not kept after this run: .*cache"):
        path = SET.get("a.csv")
    assert path.read_bytes() == GOOD and (tmp_path / "cache").read_text() == "in the way"
    assert SET.get("a.csv") == path and len(server["asked"]) == 1, "found again in this process"


def test_without_a_home_files_are_found_and_downloads_are_not_kept(server, folders, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what Python does where no home is known
    assert files.cache() is None and len(files.roots()) == 3
    with pytest.warns(UserWarning, match="downloads are not kept after this run: no home folder"):
        assert SET.get("a.csv").read_bytes() == GOOD
    assert SET.by_hand("a.csv").startswith("put it at FOLDER/toy/a.csv with the environment variable")


def test_a_derived_file_is_found_and_never_downloaded(server, folders):
    made = Files("toy", "owner/name", "c0ffee", "raw", SET.sha256, derived=("a.csv",))
    assert made.url("a.csv") == "" and made.checksum == SET.checksum
    with pytest.raises(FileNotFoundError, match="toy/a.csv is in none of .*, and it cannot be downloaded: it was made"):
        made.get("a.csv")
    assert server["asked"] == []
    path = put(folders["named"])
    assert made.get("a.csv") == path


def test_files_of_several_folders_lie_in_one_here(server, folders):
    spread = Files("toy", "owner/name", "c0ffee", "raw", SET.sha256, folders={"a.csv": "deep%20er"})
    assert spread.get("a.csv") == folders["cache"] / "a.csv"
    assert server["asked"] == ["/owner/name/c0ffee/raw/deep%20er/a.csv"]
