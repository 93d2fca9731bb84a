"""What is worked out from measured sizes: the line, the table, the command line. Memory itself is not tested."""

import numpy as np
import pytest

from experiments import bench_memory as bench

NODES, EDGES = np.array([1e5, 5e5, 5e5, 2e6]), np.array([1e6, 2.5e6, 1e7, 2e7])


def test_the_line_is_found_and_its_error_is_the_largest():
    held = 1e9 + 1500 * NODES + 30 * EDGES
    found = bench.line(NODES, EDGES, held)
    assert [found[k] for k in ("fixed", "node", "edge")] == pytest.approx([1e9, 1500, 30]) and found["error"] < 1e-9
    off = bench.line(NODES, EDGES, held * np.array([1, 1, 1, 1.2]))
    assert 0.01 < off["error"] < 0.2


def test_a_table_has_a_row_a_size_and_a_part():
    one = dict(nodes=100_000, edges=1_000_000, epoch=2.0, bytes=dict.fromkeys(bench.PARTS, 1.5e9))
    fit = dict(fixed=1e9, node=1500.0, edge=30.0, error=0.01)
    text = bench.table([one], dict.fromkeys(bench.PARTS, fit))
    assert "| 100,000 | 1,000,000 | 1.50 |" in text and text.count("| 1500 | 30 | 1000 | 1.0% |") == len(bench.PARTS)


@pytest.mark.parametrize("sizes", ["1000x10", "1000x10,2000x10,3000x10", "1000,2000,3000"])
def test_sizes_that_do_not_tell_nodes_from_edges_are_refused(sizes, capsys):
    with pytest.raises(SystemExit):
        bench.arguments([f"--sizes={sizes}"])
    assert f"--sizes={sizes}: " in capsys.readouterr().err
    assert len(bench.arguments([]).pairs) == 6
