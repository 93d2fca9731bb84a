"""What is worked out from points: exponents, table, figure; names, graphs. Times are not tested."""

import numpy as np
import pandas as pd
import pytest

from experiments import bench_reach as bench

NODES = np.array([1000, 4000, 16000])
POINTS = pd.DataFrame(
    [
        *(
            dict(name="dense", nodes=n, status="measured", seconds=2e-9 * n**2, megabytes=1e-5 * n**1.5)
            for n in NODES[:2]
        ),
        dict(name="dense", nodes=16000, status="too large", megabytes=1e-5 * 16000**1.5),
        *(dict(name="layer gat", nodes=n, status="measured", seconds=1e-6 * n, megabytes=0.5 * n) for n in NODES),
        dict(name="layer gin", nodes=1000, status="failed"),
    ],
).reindex(columns=bench.COLUMNS)


def test_exponents_are_those_of_powers_whatever_stands_before():
    for power in (0.0, 1.0, 1.5, 2.0):
        assert bench.exponent(NODES, 3e-4 * NODES**power) == pytest.approx(power, abs=1e-9)
    noisy = NODES**2.0 * np.array([1.1, 1.0, 1.1])
    slope, _ = np.linalg.lstsq(np.stack([np.log(NODES), np.ones(3)], 1), np.log(noisy), rcond=None)[0]
    assert bench.exponent(NODES, noisy) == pytest.approx(slope)


def test_small_sizes_and_what_was_not_measured_do_not_count():
    costs = np.array([50.0, 4000.0, 16000.0])
    assert bench.exponent(NODES, costs, 4000) == pytest.approx(1)
    assert bench.exponent(NODES, costs) > 2
    assert bench.exponent(NODES, [50.0, 4000.0, np.nan], 1000) == pytest.approx(np.log(80) / np.log(4))
    assert np.isnan(bench.exponent(NODES, costs, 16000))
    assert np.isnan(bench.exponent([1000, 1000], [1.0, 2.0]))
    fits = bench.exponents(POINTS, 0).set_index("name")
    assert list(fits.index) == ["dense", "layer gat", "layer gin"]
    np.testing.assert_allclose(fits.loc["dense"], [2, 1.5])
    assert fits.loc["layer gin"].isna().all()


def test_the_table_says_what_was_measured_and_why_the_rest_was_not():
    lines = bench.table(POINTS, 0).splitlines()
    assert lines[0] == "| mechanism | N = 1,000 | N = 4,000 | N = 16,000 | time ~ N^a | memory ~ N^b |"
    assert lines[2] == "| dense | 0.002 s / 0 MB | 0.032 s / 3 MB | too large: 20 MB | 2.00 | 1.50 |"
    assert lines[4] == "| layer gin | failed |  |  |  |  |"


def test_all_is_written_and_read_again(tmp_path):
    pytest.importorskip("matplotlib")  # an extra, which the figure alone needs
    text = bench.written(POINTS, tmp_path, 0)
    assert (tmp_path / "reach.md").read_text() == text
    assert (tmp_path / "reach.png").read_bytes()[:4] == b"\x89PNG"
    again = pd.read_csv(tmp_path / "points.csv")
    assert text == f"{bench.table(again, 0)}\nTime is what passed.\n"
    figure = bench.drawn(POINTS, 0)
    legend = [label.get_text() for label in figure.legends[0].get_texts()]
    assert legend == ["dense (2.0, 1.5)", "layer gat (1.0, 1.0)", "layer gin (?, ?)"]


def test_the_time_that_is_shown_can_be_the_processors(tmp_path):
    pytest.importorskip("matplotlib")
    points = POINTS.assign(cpu_seconds=2 * POINTS.seconds)
    text = bench.written(points, tmp_path, 0, "cpu_seconds")
    assert "| dense | 0.004 s / 0 MB |" in text and "what the processor worked" in text
    assert pd.read_csv(tmp_path / "points.csv").seconds[0] == POINTS.seconds[0]
    assert bench.arguments(["--out=x", "--time=cpu_seconds"]).time == "cpu_seconds"


def test_names_are_a_kind_a_name_and_options():
    assert bench.Subject.of("dense") == bench.Subject("dense", "", {})
    given = bench.Subject.of("layer long_sequence_unified(mixer='linear', heads=2)")
    assert given == bench.Subject("layer", "long_sequence_unified", dict(mixer="linear", heads=2)) and given.there
    assert not bench.Subject.of("layer nothing_of_this_name").there
    with pytest.raises(ValueError, match="'gat': expected 'dense', 'layer NAME' or 'fusion NAME'"):
        bench.Subject.of("gat")
    for name in bench.NAMES:
        bench.Subject.of(name)


@pytest.mark.parametrize("given", ["layer gat(4)", "layer gat(heads=)", "layer gat(heads=four)", "layer gat(**{})"])
def test_options_are_named_values(given):
    with pytest.raises(ValueError, match=r"gat\(.*: expected option=value"):
        bench.Subject.of(given)


@pytest.mark.parametrize("given", [["--nodes=1k"], ["--nodes=64,1"], ["--names", "dense", "gat"]])
def test_all_of_the_command_line_is_looked_at_before_anything_is_measured(given, tmp_path):
    with pytest.raises(SystemExit):
        bench.arguments([f"--out={tmp_path}", *given])


def test_half_a_line_and_an_empty_file_are_no_points(tmp_path):
    path = tmp_path / "points.csv"
    assert bench.read(path).empty
    bench.save(POINTS, path)
    pd.testing.assert_frame_equal(bench.read(path), POINTS, check_dtype=False)
    text = path.read_text()
    path.write_text(text + "layer gin,40")  # of 4096
    pd.testing.assert_frame_equal(bench.read(path), POINTS, check_dtype=False)
    path.write_text(text + text.splitlines()[1].replace("measured", "failed") + "\n")
    again = bench.read(path)
    assert len(again) == len(POINTS) and again.status[again.name == "dense"].tolist()[-1] == "failed"
    for empty in ("", "name,nodes"):
        path.write_text(empty)
        assert bench.read(path).empty
    assert [p.name for p in tmp_path.iterdir()] == ["points.csv"]


def test_a_file_of_other_columns_or_a_folder_that_cannot_be_is_said_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "point", lambda *_: pytest.fail("measured"))
    (tmp_path / "points.csv").write_text("method,size\ndense,4\n")
    (tmp_path / "file").write_text("")
    for out, why in ((tmp_path, "columns method, size; expected name, nodes"), (tmp_path / "file" / "in", "file")):
        monkeypatch.setattr("sys.argv", ["bench_reach", f"--out={out}", "--names", "dense"])
        with pytest.raises(SystemExit, match=why):
            bench.main()
    assert (tmp_path / "points.csv").read_text().startswith("method")


def test_half_of_the_labels_are_known_to_what_needs_them():
    told = bench.context(8, ("labels",))
    np.testing.assert_array_equal(told.labels, [0, -1, 1, -1, 2, -1, 3, -1])
    assert bench.context(8, ("graph",)).target is None


def test_a_geometric_graph_has_the_degree_both_directions_and_no_loop():
    edges = bench.geometric(2000)
    assert 7 < edges.shape[1] / 2000 < 8.5  # at the border there are fewer
    assert (edges[0] != edges[1]).all()
    pairs = set(map(tuple, edges.T))
    assert len(pairs) == edges.shape[1] and all((b, a) in pairs for a, b in pairs)


def test_a_point_says_what_is_known_of_it(tmp_path):
    """One beyond the memory is not run; that one in a process of its own."""
    found = bench.measure("layer gat", 40, 1.0, 1)
    assert found["status"] == "measured" and set(found) == set(bench.COLUMNS)
    too_large = bench.point("dense", 40, bench.arguments([f"--out={tmp_path}", "--memory=0"]))
    assert too_large["status"] == "too large" and "seconds" not in too_large and too_large["megabytes"] > 0
    with pytest.raises(ValueError, match="no layer named 'nothing'"):
        bench.measure("layer nothing", 40, 1.0, 1)
