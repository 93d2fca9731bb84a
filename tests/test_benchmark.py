"""What the benchmark is made of: data, ratios, weights, and one case of our own side. Times are not tested."""

import json

import numpy as np
import pytest

from experiments import benchmark
from experiments.benchmarks import cases, study, timing, weights
from tests import tiny


def test_data_have_the_stated_shapes_and_are_the_same_each_time():
    for case in cases.CASES:
        if isinstance(case, cases.Training):
            shape = case.shape.of(100)
            held, again = cases.made(shape), cases.made(shape)
            assert [held[f"x{m}"].shape for m in range(len(shape.widths))] == [(100, d) for d in shape.widths]
            assert held["edges"].shape == (2, round(case.shape.edges * 100 / case.shape.nodes))
            assert set(held["labels"]) == set(range(shape.classes)) and len(held["labels"]) == 100
            for m in range(len(shape.widths)):
                words = m in shape.words
                assert np.mean(held[f"x{m}"] != 0) == pytest.approx(1 / 80 if words else 1, abs=1e-3)
            assert all(np.array_equal(held[k], again[k]) for k in held)
    assert cases.values(3, 4, number=1).dtype == np.float32
    assert not np.array_equal(cases.values(3, 4), cases.values(3, 4, number=1))


def test_edges_are_distinct_and_no_loops():
    senders, receivers = cases.edges(2000, 40_000)
    assert len(set(zip(senders.tolist(), receivers.tolist(), strict=True))) == 40_000
    assert (senders != receivers).all() and min(senders.min(), receivers.min()) >= 0
    assert max(senders.max(), receivers.max()) < 2000
    assert np.sort(np.bincount(senders, minlength=2000))[-200:].sum() > 0.25 * 40_000  # a tenth sends a quarter
    with pytest.raises(ValueError, match="10 edges among 4 nodes"):
        cases.edges(4, 10)


def test_a_case_survives_json():
    for case in cases.CASES:
        assert cases.of_dict(json.loads(json.dumps(cases.as_dict(case)))) == case


def test_cases_are_chosen_by_suite_name_or_family():
    assert [case.name for case in cases.chosen("cpu", ["C-64", "A"])] == ["A", "A-10", "C-64"]
    assert {case.name for case in cases.chosen("gpu", [])} == {"E", "E-whole", "cora64", "arxiv"}
    with pytest.raises(ValueError, match="no case 'Z'; there are: A, A-10"):
        cases.chosen("cpu", ["Z"])


def test_bytes_are_those_of_what_is_read_and_written():
    forward = cases.Propagate("", "", nodes=10, edges=30, width=4)
    assert forward.moved == 30 * (4 * 4 + 4) + 10 * 4 * 4
    assert cases.Modalities("", "", nodes=10, modalities=3, width=4).moved == 10 * 4 * 4 * (3 * 3 + 1)
    assert cases.Modalities("", "", nodes=10, modalities=3, width=4, whole=True).moved == 10 * 4 * 4 * (3 + 1)


def test_sides_take_turns_and_every_second_round_goes_backwards():
    order = []
    runs = {name: lambda name=name: order.append(name) or float(len(order)) for name in "ab"}
    assert timing.alternate(runs, 3) == dict(a=[1.0, 4.0, 5.0], b=[2.0, 3.0, 6.0])
    assert order == list("abbaab")


def test_a_ratio_is_that_of_the_medians_with_those_of_the_rounds():
    found = timing.ratio([1.0, 2.0, 4.0], [3.0, 3.0, 20.0])
    assert found == timing.Ratio(1.5, 1.5, 5.0) and str(found) == "1.50x (1.50-5.00)"
    with pytest.raises(ValueError):
        timing.ratio([1.0], [1.0, 2.0])


def test_a_short_call_is_repeated_and_a_long_one_is_not():
    calls = []
    timing.called(lambda: calls.append(1), at_least=1e-3)
    assert len(calls) >= 3


def test_memory_is_counted_from_where_it_is_asked_for():
    first = np.ones(10_000_000)
    del first  # as what the compiler took: behind us
    before = timing.settle()
    assert timing.peak_mb() < before + 40 and before > 10
    held = np.ones(10_000_000)
    assert timing.peak_mb() > before + 60
    del held


def test_our_parameters_have_the_peers_names_and_layout():
    kernel = np.arange(6.0).reshape(2, 3)
    names = {
        "encoders.1.linear.kernel": "encoders.1.weight",
        "encoders.1.linear.bias": "encoders.1.bias",
        "fusions.0.query.kernel": "fusion.query.weight",
        "fusions.0.mlp.fc1.bias": "fusion.fc1.bias",
        "layers.0.linear.kernel": "layers.0.lin.weight",
        "layers.0.linear.bias": "layers.0.bias",
        "layers.1.att_sender": "layers.1.att_src",
        "layers.1.bias": "layers.1.bias",
        "head.kernel": "head.weight",
    }
    for own, other in names.items():
        ((name, value),) = weights.to_torch({own: kernel}).items()
        expected = kernel.T if own.endswith("kernel") else kernel[None] if "att_" in own else kernel
        assert name == other and np.array_equal(value, expected)
    assert weights.flat({"a": {0: kernel}, "b": kernel}).keys() == {"a.0", "b"}


def test_outputs_that_differ_have_no_times():
    x = np.ones((3, 2))
    assert weights.apart(x, x + 1e-5) == pytest.approx(5e-6)
    for other in (x + 1e-3, x * np.nan, x[:2]):
        with pytest.raises(ValueError, match="apart|shapes"):
            weights.apart(x, other)


def test_without_pytorch_it_says_what_to_install_and_our_side_needs_none(monkeypatch, capsys):
    monkeypatch.setattr(benchmark.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        benchmark.arguments(["--case=A"])
    assert "torch and torch_geometric: not installed; pip install 'fusion_jax[bench]'" in capsys.readouterr().err
    assert benchmark.arguments(["--case=A", "--alone"]).peers == []
    assert [case.name for case in benchmark.arguments(["--case=cora64"]).cases] == ["cora64"]


@pytest.mark.parametrize("wrong", ["--case=Z", "--peers=tensorflow", "--repeats=0", "--nodes=-1"])
def test_what_is_wrong_with_the_command_line_is_said_before_anything_runs(wrong, capsys):
    with pytest.raises(SystemExit):
        benchmark.arguments(["--case=cora64", wrong])
    assert wrong.partition("=")[2] in capsys.readouterr().err


def test_our_side_of_a_case_alone(tmp_path, monkeypatch, capsys):
    """The command itself: processes, limits, one line a case, the table, the file."""
    file = tmp_path / "raw.json"
    flags = ["--alone", "--case=C-64-grad,A-10", "--nodes=60", "--epochs=2", "--repeats=2", "--threads=1"]
    monkeypatch.setattr("sys.argv", ["benchmark", *flags, f"--json={file}"])
    with pytest.raises(SystemExit) as ended:
        benchmark.main()
    out, held = capsys.readouterr().out, json.loads(file.read_text())
    assert ended.value.code == 0, out
    assert held["machine"]["cores"] == 1 and held["limits"]["flops_per_second"] > 1e8
    by_name = {case["name"]: case for case in held["cases"]}
    assert list(by_name) == ["A-10", "C-64-grad"] and "jaxlib" in held["versions"]
    for case in by_name.values():
        ours = case["sides"]["ours"]
        assert len(ours["seconds"]) == 2 and min(ours["seconds"]) > 0 and case["ratios"] == {}
        assert f"| {case['name']}: {case['title']} |" in out
    ours = by_name["A-10"]["sides"]["ours"]  # ten seeds and two epochs of some products of 60 x 600 x 64
    assert ours["flops"] > 20 * 2 * 60 * 600 * 64 and len(ours["scores"]) == 10
    assert "of FLOP/s" in out and "of bytes/s" in out


def test_what_a_study_hands_over_comes_back_by_rows():
    held = {"1/dim": np.array(32), "0/dim": np.array(16), "0/x0": np.ones((2, 3)), "1/label": np.array("b")}
    first, second = study.rows_of(held)
    assert first["dim"] == 16 and first["x0"].shape == (2, 3) and second == dict(dim=32, label="b")


def test_the_script_of_a_study_has_its_fusions_and_learns():
    """A class that one of two modalities tells, half of it missing; every fusion finds it, before and after layers."""
    torch = pytest.importorskip("torch", reason="the peers' library is not installed: extra [bench]")
    pytest.importorskip("torch_geometric", reason="the peers' library is not installed: extra [bench]")
    from experiments.benchmarks import peer_study

    labels = np.arange(120) % 2
    mask = np.stack([np.ones(120, bool), np.arange(120) % 3 > 0], 1)
    x = cases.values(120, 5) + 2 * labels[:, None].astype(np.float32), cases.values(120, 4, number=1)
    row = dict(x0=x[0], x1=x[1], mask=mask, edges=np.stack([np.arange(118), np.arange(2, 120)]), labels=labels)
    row |= dict(train0=np.arange(40), val0=np.arange(40, 60), test0=np.arange(60, 120), dim=8, rate=0.1, outputs=2)
    row |= dict(layers=1, rank=2, learning_rate=3e-2, weight_decay=0.0, epochs=20, patience=20, every=2)
    torch.set_num_threads(1)
    for fusion in ("concat_linear", "concat_mlp", "mean", "gmu", "self_attention", "lmf"):
        for placement in ("before", "after"):
            assert peer_study.trained(dict(row, fusion=fusion, placement=placement), 1) > 0.85
    assert peer_study.trained(dict(row, fusion="late_logits", placement="decision"), 1) > 0.85


def test_a_side_that_cannot_run_says_why_in_the_table(tmp_path):
    args = benchmark.arguments(["--alone", "--case=C-64", "--nodes=4"])  # more edges than there can be
    found = benchmark.measured(args.cases[0], args)
    assert "edges among 4 nodes" in found["failed"]["ours"]
    assert "| failed |" in benchmark.table([found], {}) and "failed: ours" in benchmark.line(found, {})


@pytest.mark.parametrize("name", ["A", "B", "B-gat"])
def test_the_peers_are_the_same_model(name, tmp_path):
    """Outputs of equal weights are equal, with edges as a list and as a matrix; other weights are refused."""
    pytest.importorskip("torch_geometric", reason="the peers' library is not installed: extra [bench]")
    from experiments.benchmarks import ours, peers

    (case,) = (case.resized(60, 2) for case in cases.CASES if case.name == name)
    with tiny.as_users_run():
        ours.ready(case, tmp_path)
    for side in ("eager", "csr") if case.layer == "gcn" else ("eager",):
        found = peers.ready(case, side, tmp_path, 1).facts
        assert found["apart"] < 1e-4
    with np.load(tmp_path / "case.npz") as held:
        held = dict(held)
    held["params/head.bias"] = held["params/head.bias"] + 1
    np.savez(tmp_path / "case.npz", **held)
    with pytest.raises(ValueError, match="apart"):
        peers.ready(case, "eager", tmp_path, 1)
