"""The served page: what is answered, to whom, and that it follows the folder."""

import http.client
import json
import socket
import struct
import threading

import pytest

from fusion_jax.results import running, serve
from fusion_jax.results.lock import exclusive
from fusion_jax.results.store import Store
from tests import pages


@pytest.fixture
def made(tmp_path):
    made = pages.Pages(tmp_path / "study")
    made.add("concat_mlp", seeds=2)
    made.add("gmu", seeds=0)
    return made


@pytest.fixture
def served(made, monkeypatch):
    monkeypatch.setattr(serve, "REST", 1.0)  # no pause
    with serve.server(made.store) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.01))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(port, path="/data.json", method="GET", **headers):
    connection = http.client.HTTPConnection(serve.ADDRESS, port, timeout=30)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def test_the_page_and_its_data_are_all_there_is(served):
    status, headers, content = ask(served, "/")
    assert status == 200 and headers["Content-Type"].startswith("text/html") and b"connect-src 'self'" in content
    assert headers["X-Frame-Options"] == "DENY" and headers["Cache-Control"] == "no-store"
    for path in ("/study.json", "/cells/", "/../study.json", "/%2e%2e/study.json", "/data.json/..", "/report/"):
        assert ask(served, path)[0] == 404, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(served, "/", method)[0] == 501, method


@pytest.mark.parametrize("path", ["/", "/data.json", "/status.json", "/elsewhere"])
def test_head_is_answered_as_get_without_the_content(served, path):
    (status, headers, content), (head, same, nothing) = (ask(served, path, method) for method in ("GET", "HEAD"))
    for answer in (headers, same):
        del answer["Date"]
    assert (head, same, nothing) == (status, headers, b"") and int(same["Content-Length"]) == len(content) > 0
    if tag := headers.get("ETag"):
        assert ask(served, path, "HEAD", **{"If-None-Match": tag})[0] == 304
    assert ask(served, path, "HEAD", Host="evil.example")[0] == 403


def test_whoever_asks_and_goes_is_nothing_to_speak_of(served, capsys):
    before = set(threading.enumerate())
    for _ in range(3):
        gone = socket.create_connection((serve.ADDRESS, served))
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it is cut, not ended
        gone.sendall(f"GET / HTTP/1.1\r\nHost: localhost:{served}\r\n\r\n".encode())
        gone.close()
    assert ask(served)[0] == 200, "those who asked before have been taken on"
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
    assert capsys.readouterr().err == ""


def test_what_fails_midway_is_said_and_answered_when_it_is_there_again(made, served, monkeypatch):
    real, before = serve.page_data.collect, ask(served)[2]

    def midway(store):
        real(store)
        raise KeyError("accuracy")

    monkeypatch.setattr(serve.page_data, "collect", midway)
    made.add("lmf", seeds=2)
    status, headers, content = ask(served)
    assert (status, content) == (503, b"KeyError: 'accuracy'\n") and headers["Content-Type"].startswith("text/plain")
    monkeypatch.setattr(serve.page_data, "collect", real)
    status, _, content = ask(served)
    assert status == 200 and content != before and b"lmf" in content


def test_a_study_that_is_damaged_now_is_said_to_be(made, served):
    path = made.store.root / "study.json"
    held = path.read_text()
    path.write_text(held[: len(held) // 2])
    status, _, content = ask(served, "/status.json")
    assert status == 503 and b"study.json is not valid JSON" in content
    path.write_text(held)
    assert ask(served, "/status.json")[0] == 200


def test_another_name_than_this_machine_s_is_turned_away(served):
    for host in ("evil.example", f"evil.example:{served}", "127.0.0.1", f"127.0.0.1:{served + 1}", ""):
        assert ask(served, Host=host)[0] == 403, host
    assert ask(served, Host=f"localhost:{served}")[0] == 200


def test_it_follows_the_study_and_says_so_only_when_something_changed(made, served):
    status, headers, content = ask(served)
    assert status == 200 and json.loads(content)["status"] == dict(done=1, failed=0, running=0, waiting=1)
    tag = {"If-None-Match": headers["ETag"]}
    assert ask(served, **tag)[::2] == (304, b"")
    identity, cell = made.cells[1]
    made.store.write_failure(identity, cell, "ValueError: no", "Traceback")
    status, headers, content = ask(served, **tag)
    assert status == 200 and json.loads(content)["status"]["failed"] == 1
    made.add("lmf", seeds=2)
    data = json.loads(ask(served, **{"If-None-Match": headers["ETag"]})[2])
    assert data["status"] == dict(done=2, failed=1, running=0, waiting=0)
    assert [row["label"] for row in data["rows"]] == ["concat_mlp", "gmu", "lmf"]


def test_how_far_cells_are_is_told_without_reading_results(made, served, monkeypatch):
    before = json.loads(ask(served)[2])["results"]
    monkeypatch.setattr(serve.page_data, "collect", lambda store: pytest.fail("results were read"))
    cell = made.cells[1][0]
    with exclusive(made.store.root):
        running.write(made.store, {cell: dict(epoch=4, epochs=6, validation=["accuracy", 0.5])})
        status, headers, content = ask(served, "/status.json")
        found = json.loads(content)
        assert status == 200 and found["status"] == dict(done=1, failed=0, running=1, waiting=0)
        assert found["cells"][cell]["progress"]["epoch"] == 4 and found["results"] == before
        assert ask(served, "/status.json", **{"If-None-Match": headers["ETag"]})[0] == 304
        assert ask(served)[0] == 200


def test_a_folder_without_a_study_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no study"):
        serve.server(Store(tmp_path))


@pytest.mark.xdist_group("browser")
def test_an_open_page_shows_what_is_new_and_keeps_what_was_chosen(made, served, opened):
    window = opened(f"http://{serve.ADDRESS}:{served}/")
    assert "1 of 2 cells finished, 1 waiting" in window.inner_text("#status")
    with exclusive(made.store.root):
        running.write(made.store, {made.cells[1][0]: dict(epoch=4, epochs=6, validation=["accuracy", 0.5])})
        window.locator("#cell-list summary", has_text="epoch 4 of 6, accuracy 0.500 on validation rows").wait_for()
        assert "1 running" in window.inner_text("#status")
    window.fill("#filter", "g")
    window.click("#seeds label:has(#seed-1)")
    made.add("gmu", seeds=2, model__placement="after")
    window.locator("#compare-table tbody tr", has_text="after").wait_for()
    assert window.input_value("#filter") == "g" and not window.is_checked("#seed-1")
    assert {url.rpartition("/")[2] for url in window.asked if not url.startswith("data:")} == {
        "",
        "status.json",
        "data.json",
    }
