"""The benchmark of nodes over devices: what it counts, and the graphs it makes."""

import numpy as np
import pytest

from experiments.benchmarks import halo

PROGRAM = """
  %all-to-all.1 = (f32[2,3]{1,0}, f32[2,3]{1,0}, /*index=2*/f32[2,3]{1,0}, f32[2,3]{1,0}) all-to-all(%a, %b, %c, %d)
  %gathered = (s32[1]{0}, bf16[8]{0}) all-gather-start(%e, %f), dimensions={0}
  %sums = (f32[], pred[2]{0}) all-reduce(%g, %h), to_apply=%add
  %other = f32[100]{0} add(%x, %y), metadata={op_name="all-to-all"}
"""


def test_bytes_of_every_kind_of_exchange_without_what_stays_on_the_device():
    found = halo.exchanged_bytes(PROGRAM, 4)
    assert found["all-to-all"] == 4 * 2 * 3 * 4 * 3 // 4
    assert found["all-gather"] == (4 + 8 * 2) * 3 // 4
    assert found["all-reduce"] == 4 + 2
    assert found["reduce-scatter"] == found["collective-permute"] == 0


def test_the_share_of_edges_within_communities_is_what_is_asked_for():
    senders, receivers = halo.random_edges(400, 4000, 4, 1.0)
    assert len(senders) == len(receivers) == 4000 and max(senders.max(), receivers.max()) < 400
    joined = np.arange(400)
    for _ in range(50):  # the least node that each is joined with
        np.minimum.at(joined, receivers, joined[senders])
        np.minimum.at(joined, senders, joined[receivers])
    assert len(np.unique(joined)) == 4
    assert len(np.unique(halo.random_edges(400, 4000, 4, 0.0)[1])) > 390


def test_a_number_out_of_range_ends_the_program(capsys):
    with pytest.raises(SystemExit):
        halo.arguments(["--devices=0"])
    assert "--devices=0; expected at least 1" in capsys.readouterr().err
