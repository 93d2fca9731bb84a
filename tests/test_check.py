"""The command `check`: a line a rule, JSON, exit statuses."""

import contextlib
import io
import json

import jax
import pytest

import experiments.check
from tests import tiny
from tests.checking.mine import write


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


def check(*args):
    return tiny.command("experiments.check", *map(str, args))


def test_one_that_keeps_the_contract(tmp_path):
    status, out = check(write(tmp_path, "encoder"))
    lines = out.splitlines()
    assert status == 0 and lines[-1] == "encoder 'mine' keeps the contract of its kind"
    assert all(line.startswith("ok    ") for line in lines[:-1])


def test_one_that_breaks_it_says_what_to_do(tmp_path):
    path = write(tmp_path, "loss", ("weighted_mean(-power * p, weight)", "-p.mean()"))
    status, out = check(path)
    line = (
        "FAILS   rows of weight 0 have no influence: a row of weight 0 changes it: labels that must not be seen would"
    )
    assert status == 1 and line in out and "weighted_mean(values, weight)" in out
    status, out = check(path, "--json")
    found = json.loads(out)
    broken = [row["rule"] for row in found["rules"] if row["verdict"] == "fails"]
    assert status == 1 and found["kind"] == "loss" and "rows of weight 0 have no influence" in broken
    assert set(found["rules"][0]) == {"rule", "verdict", "found", "do"}


def test_what_the_file_prints_is_not_among_the_findings(tmp_path):
    path = write(
        tmp_path, "loss", ("INFO =", 'print("loaded")\n\nINFO ='), ("    p = jnp", '    print("called")\n    p = jnp')
    )
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        with pytest.raises(SystemExit):
            experiments.check.main([path, "--json"])
    assert json.loads(out.getvalue())["kind"] == "loss"
    assert "loaded" in err.getvalue() and "called" in err.getvalue()
    assert not jax.config.read("jax_disable_most_optimizations"), "what is compiled behind it is compiled as ever"


def test_a_class_without_info_says_what_to_write(tmp_path):
    lines = ("from fusion_jax.fusion.base import Fusion", "class Mine(Fusion):", "    def node(self, x, mask):")
    (tmp_path / "mine.py").write_text("\n".join([*lines, "        return x", ""]))
    status, out = check(tmp_path / "mine.py")
    assert status == 1 and "Mine has no info" in out and "from fusion_jax.records import Info" in out


def test_a_broken_file_is_one_line(tmp_path):
    (tmp_path / "mine.py").write_text("\nx = (")
    status, out = check(tmp_path / "mine.py")
    assert status == 1 and out == f"error: {tmp_path}/mine.py, line 2: SyntaxError: '(' was never closed\n"
    status, out = check(tmp_path / "other.py")
    assert status == 2 and out.startswith("error: no mechanism file") and len(out.splitlines()) == 1
    assert check(tmp_path / "mine.py", "--kind=lose")[0] == 2
