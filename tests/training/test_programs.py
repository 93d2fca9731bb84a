"""Programs that are kept: each made once, by whoever comes first; few at a time; none where nobody holds them."""

import itertools
import threading
import types
import weakref
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import pytest

from fusion_jax.run.model import train_models
from fusion_jax.training import programs
from fusion_jax.training.numbers import DECAY, DROPOUT, RATE
from tests import tiny


def counting(made):
    def make():
        made.append(len(made))
        return made[-1]

    return make


def test_a_program_is_made_once_while_it_is_held_and_anew_otherwise():
    made = []
    assert [programs.compiled("a", counting(made)) for _ in range(2)] == [0, 1]
    with programs.held():
        assert [programs.compiled(key, counting(made)) for key in ("a", "b", "a", "b")] == [2, 3, 2, 3]
        with programs.held():
            assert programs.compiled("a", counting(made)) == 2
        assert programs.compiled("a", counting(made)) == 2
        assert programs.compiled(None, counting(made)) == 4 and programs.compiled(None, counting(made)) == 5
    with programs.held():
        assert programs.compiled("a", counting(made)) == 6


def test_the_one_that_was_asked_for_longest_ago_goes_first():
    kept, made = programs.Programs(most=2), []
    with kept.held():
        for key in ("a", "b", "a", "c"):  # b goes
            kept.compiled(key, counting(made))
        assert [kept.compiled(key, counting(made)) for key in ("a", "c", "b")] == [0, 2, 3]
        assert len(kept.found) == 2


def test_two_threads_that_ask_at_a_time_make_one():
    made, started, go = [], threading.Event(), threading.Event()

    def slow():
        started.set()
        assert go.wait(10)
        return counting(made)()

    with programs.held(), ThreadPoolExecutor(2) as pool:
        first = pool.submit(programs.compiled, "a", slow)
        assert started.wait(10)
        second = pool.submit(programs.compiled, "a", counting(made))
        go.set()
        assert first.result(10) == second.result(10) == 0 and len(made) == 1


def test_a_failure_is_told_and_not_kept():
    def fails():
        raise RuntimeError("no")

    with programs.held():
        with pytest.raises(RuntimeError, match="no"):
            programs.compiled("a", fails)
        assert programs.compiled("a", lambda: 7) == 7


def test_the_form_of_arguments_is_their_structure_shapes_and_types():
    x = jnp.zeros(3, jnp.float32)
    same = programs.form({"a": x, "b": None})
    assert same == programs.form({"a": x + 1, "b": None}) and hash(same) == hash(programs.form({"a": x, "b": None}))
    for other in ({"a": x}, {"a": x, "b": x}, {"a": x[:2], "b": None}, {"a": x.astype(jnp.int32), "b": None}):
        assert programs.form(other) != same


@pytest.mark.skipif(not programs.MAPS.exists(), reason="mappings are counted on Linux alone, where they are limited")
def test_programs_are_let_go_of_before_a_process_has_no_mappings_left(tmp_path, monkeypatch):
    """Else a study of some hundred cells ends in the compiler: a program of a CPU takes some hundred of them."""
    limit, made = tmp_path / "max_map_count", []
    monkeypatch.setattr(programs, "LIMIT", limit)

    def count():
        return len(programs.MAPS.read_text().splitlines())

    def fill():
        jax.clear_caches()
        before = count()
        for n in range(2, 14):
            jax.jit(lambda x: jnp.sin(x @ x).sum() + x)(jnp.ones((n, n)))
        return count() - before

    limit.write_text(str(4 * count()))
    with programs.held():
        assert programs.compiled("a", counting(made)) == 0
        assert fill() > 10 and not programs.spare()
        assert programs.compiled("a", counting(made)) == 0
        full = count()
        limit.write_text(str(2 * full - 2))
        assert programs.spare() and count() < full - 10
        assert programs.compiled("a", counting(made)) == 1
    limit.unlink()
    assert not programs.spare()


def test_what_was_freed_goes_back_to_the_system_and_circles_are_broken(tmp_path, monkeypatch):
    """A program that is part of a circle keeps its mappings until that is found."""
    given, circle = [], lambda: None
    circle.itself, gone = circle, weakref.ref(circle)
    del circle
    for name, content in (("MAPS", "a\nb\n"), ("LIMIT", "3")):
        (tmp_path / name).write_text(content)
        monkeypatch.setattr(programs, name, tmp_path / name)
    monkeypatch.setattr(programs.ctypes, "CDLL", lambda name: types.SimpleNamespace(malloc_trim=given.append))
    monkeypatch.setattr(jax, "clear_caches", lambda: None)
    assert programs.spare() and given == [0] and gone() is None
    (tmp_path / "LIMIT").write_text("4")
    assert not programs.spare() and given == [0, 0]
    monkeypatch.setattr(programs.ctypes, "CDLL", lambda name: object())
    assert not programs.spare(), "another C library"


def test_every_training_looks_for_mappings_first(monkeypatch):
    monkeypatch.setattr(programs, "spare", lambda: pytest.fail("asked"))
    with pytest.raises(pytest.fail.Exception, match="asked"):
        tiny.train(tiny.dataset(), (0,))


@pytest.fixture
def asked(monkeypatch):
    """A list with an entry for every training program that was compiled; programs are kept while it is there."""
    real, found = jax.stages.Lowered.compile, []

    def compile(lowered, *args, **options):
        found.append(lowered)
        return real(lowered, *args, **options)

    monkeypatch.setattr(jax.stages.Lowered, "compile", compile)
    with programs.held():
        yield found


def test_nothing_is_compiled_after_the_first_time(asked):
    data = tiny.dataset()
    tiny.train(data, (0, 1))
    assert len(asked) == 1
    tiny.train(data, (0, 1))
    tiny.train(data, (2, 3))
    tiny.train(data, (0, 1), optimizer__learning_rate=0.02)
    assert len(asked) == 1
    tiny.train(data, (0, 1), model__dim=6)
    assert len(asked) == 2


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere all seeds are one program, of so many")
def test_more_seeds_are_the_same_program(asked):
    data = tiny.dataset()
    for seeds in ((0,), (0, 1), (0, 1, 2, 3, 4)):
        tiny.train(data, seeds, training__seed_axis="map")
    assert len(asked) == 1


def test_a_grid_of_twelve_points_is_one_program(asked):
    data = tiny.dataset()
    plans = [
        tiny.cell(optimizer__learning_rate=rate, optimizer__options={"weight_decay": decay}, model__rate=dropped).plan
        for rate, decay, dropped in itertools.product((0.001, 0.01, 0.1), (0.0, 0.1), (0.1, 0.4))
    ]
    trained = train_models(plans, data, tiny.prepared(plans[0], data, (0, 1)), told=(RATE, DECAY, DROPOUT))
    assert len(plans) == 12 and len(trained.prediction) == 24 and len(asked) == 1
