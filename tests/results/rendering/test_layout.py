"""Columns and rows that fit: nothing is lost, nothing is too much."""

from fusion_jax.results.rendering import layout
from fusion_jax.results.rendering.layout import Column


def column(name, text, bold=False):
    return Column(name, [text] * 3, [text] * 3, bold)


def test_all_columns_stand_in_their_order_and_none_is_wider_than_the_line():
    blocks = [[column(f"{i}{j}", "0.123 ± 0.456") for j in range(1 + i % 3)] for i in range(7)]
    packed = layout.packed(blocks, taken=100.0)
    assert [c.head for columns in packed for c in columns] == [c.head for block in blocks for c in block]
    assert all(layout.left(columns, 100.0) >= 0 for columns in packed) and len(packed) > 1


def test_a_block_stays_together_where_it_can():
    wide, pair = [column("wide", "x" * 40)], [column("a", "y" * 12), column("b", "z" * 12)]
    assert [[c.head for c in columns] for columns in layout.packed([wide, pair], 100.0)] == [["wide"], ["a", "b"]]
    huge = [column(str(i), "x" * 30) for i in range(3)]
    assert len(layout.packed([huge], 100.0)) == 3, "a block that no table holds is taken apart"


def test_bold_needs_more():
    assert column("", "0.5", bold=True).width > column("", "0.5").width > 0


def test_rows_of_a_page_are_all_rows_and_long_labels_count_for_their_lines():
    short = ["name"] * 100
    assert [i for rows in layout.pages(short, 80.0) for i in rows] == list(range(100))
    assert max(len(rows) for rows in layout.pages(short, 80.0)) == layout.LINES
    long = ["a long label that needs lines " * 4] * 100
    assert max(len(rows) for rows in layout.pages(long, 80.0)) < layout.LINES / 3
    assert list(layout.pages([], 80.0)) == [range(0)]
