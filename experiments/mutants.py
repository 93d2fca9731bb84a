"""How hard the tests bite: random small faults are planted in the source, one at a time, and the nearest tests run.

    python -m experiments.mutants fusion_jax/nn fusion_jax/data [--number=50] [--seed=0] [--list]

Lines are drawn without replacement, then one mutant of each: a number or truth value changed, an operator or comparison
exchanged, min for max and the like, a keyword argument removed, two arguments swapped, a condition negated, a statement
dropped. Docstrings, annotations, strings and the texts of errors are left alone. Every mutant runs in a throw-away copy
of the checkout against the mirror of its file (`tests/nn/test_norm.py` of `fusion_jax/nn/norm.py`), a mechanism against
its contract tests too, and what lives then against the whole folder of the mirror. Survivors are printed with their
difference: most want a test, some are equivalent to the original (a tolerance, a shortcut), which only a reader can
tell.

Kept tools do not fit: mutmut 3 leaves decorated functions alone (custom derivatives, compiled functions, properties)
and first runs the whole suite, cosmic-ray has one test command for all files and draws no sample, mutatest's last
release is for Python 3.8.
"""

from __future__ import annotations

import argparse
import ast
import copy
import difflib
import itertools
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from scipy.stats import binomtest

from fusion_jax import zoo
from fusion_jax.data import files

ROOT = pathlib.Path(__file__).resolve().parents[1]
LIMIT = 900  # seconds; tests that run longer hang, which counts as killed
OTHER = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div},
    **{ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd},
    **{ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.And: ast.Or, ast.Or: ast.And},
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
}
PAIRS = "min max,minimum maximum,any all,sum mean,argmin argmax,zeros ones,floor ceil,log log1p,exp expm1,sqrt rsqrt"
NAMES = {a: b for pair in PAIRS.split(",") for a, b in (pair.split(), pair.split()[::-1])}
TEXTS = {"refuse", "fail", "warn"}  # calls whose arguments are the text of an error


def children(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below that may be mutated: no annotations, no error texts, no formatted strings."""
    skipped = [getattr(node, field, None) for field in ("annotation", "returns", "exc")]
    for child in ast.iter_child_nodes(node):
        called = getattr(child, "func", None)
        text = isinstance(child, ast.JoinedStr) or getattr(called, "id", getattr(called, "attr", "")) in TEXTS
        if not text and child not in skipped and child not in getattr(node, "decorator_list", ()):
            yield child
            yield from children(child)


def variants(node: ast.AST) -> Iterator[ast.AST]:
    """The node with one fault."""

    def changed(**fields) -> ast.AST:
        twin = copy.copy(node)
        for field, value in fields.items():
            setattr(twin, field, value)
        return twin

    match node:
        case ast.Constant(value=bool(value)):
            yield changed(value=not value)
        case ast.Constant(value=int(value) | float(value)):
            yield from (changed(value=other) for other in (value + 1, value - 1, 2 * value) if other != value)
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in OTHER:
            yield changed(op=OTHER[type(op)]())
        case ast.Compare(ops=[op, *rest]):
            yield changed(ops=[OTHER[type(op)](), *rest])
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.IfExp(body=body, orelse=orelse):
            yield changed(body=orelse, orelse=body)
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in NAMES:
            yield changed(id=NAMES[name], attr=NAMES[name])
        case ast.Call(args=args, keywords=keywords):
            for i in range(len(keywords)):
                yield changed(keywords=keywords[:i] + keywords[i + 1 :])
            if len(args) > 1 and ast.dump(args[0]) != ast.dump(args[1]):
                yield changed(args=[args[1], args[0], *args[2:]])
        case ast.If(test=test):
            yield test, ast.UnaryOp(ast.Not(), test)
        case ast.Raise() | ast.AugAssign() | ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Assign(targets=[target], value=value):
            names = {n.id for n in ast.walk(value) if isinstance(n, ast.Name)}
            if not isinstance(target, ast.Name) or target.id in names:  # dropping others is no more than a NameError
                yield ast.Pass()


def mutants(path: pathlib.Path) -> dict[int, list[str]]:
    """{line: the texts of the file with one fault on it}."""
    text, found = path.read_bytes(), {}
    starts = list(itertools.accumulate(map(len, text.splitlines(keepends=True)), initial=0))
    for node in children(ast.parse(text)):
        for new in variants(node):
            at, new = new if isinstance(new, tuple) else (node, new)
            code = ast.unparse(ast.fix_missing_locations(new))
            code = f"({code})" if isinstance(new, ast.BinOp | ast.BoolOp | ast.Compare | ast.IfExp) else code
            start, stop = starts[at.lineno - 1] + at.col_offset, starts[at.end_lineno - 1] + at.end_col_offset
            found.setdefault(at.lineno, []).append((text[:start] + code.encode() + text[stop:]).decode())
    return found


def commands(path: pathlib.Path) -> list[list[str]]:
    """What pytest is called with for a file of the package, its nearest tests first."""
    parts = [part.strip("_") for part in path.relative_to("fusion_jax").with_suffix("").parts]
    mirrors = [pathlib.Path("tests", *parts[:i], f"test_{parts[i]}.py") for i in reversed(range(len(parts)))]
    places = [place for place in (*mirrors, pathlib.Path("tests", parts[0])) if (ROOT / place).exists()]
    found = [[str(place)] for place in places[:1]]
    kind = next((kind for kind, place in zoo.KINDS.items() if place == f"fusion_jax.{parts[0]}"), None)
    contract = pathlib.Path("tests", "contract", f"test_{kind}.py")
    if kind and parts[1] in zoo.names(kind) and (ROOT / contract).exists():
        found.append([str(contract), f"-k=[{parts[1]}] or [{parts[1]}-"])
    return [*found, *([str(place)] for place in places[-1:] if [str(place)] not in found)]


def run(copied: pathlib.Path, tests: list[list[str]]) -> str:
    """ "" where all pass, else the first line that tells what failed."""
    env = {**os.environ, "PYTHONPATH": str(copied), "PYTHONDONTWRITEBYTECODE": "1"}
    env["FUSION_JAX_DATA"] = os.pathsep.join(map(str, files.roots()))
    for arguments in tests:
        command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "--no-header", *arguments]
        try:
            done = subprocess.run(command, cwd=copied, env=env, capture_output=True, text=True, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            return "takes too long"
        if done.returncode not in (0, 5):  # 5: no test is of that name
            said = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
            return (said or [(done.stdout + done.stderr)[-300:] or f"status {done.returncode}"])[0]
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=pathlib.Path, help="folders or files, from the checkout's root")
    parser.add_argument("--number", type=int, default=50, help="how many mutants")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    args = parser.parse_args()
    os.chdir(ROOT)
    rng, alive, passed = random.Random(args.seed), 0, set()
    sources = sorted(f for path in args.paths for f in (path.rglob("*.py") if path.is_dir() else [path]))
    every = [(path, line, texts) for path in sources for line, texts in sorted(mutants(path).items())]
    drawn = rng.sample(every, min(args.number, len(every)))
    with tempfile.TemporaryDirectory() as folder:
        copied = pathlib.Path(folder, "checkout")
        shutil.copytree(ROOT, copied, ignore=shutil.ignore_patterns(".*", "*.egg-info", "results.*", "__pycache__"))
        for path, line, texts in drawn:
            original, text = path.read_text(), rng.choice(texts)
            difference = list(difflib.unified_diff(original.splitlines(), text.splitlines(), lineterm="", n=0))[3:]
            said = ""
            if not args.list:
                tests = commands(path)
                if str(tests) not in passed and (failed := run(copied, tests)):
                    raise SystemExit(f"without a mutant, {tests}: {failed}")
                passed.add(str(tests))
                (copied / path).write_text(text)
                failed = run(copied, tests)
                (copied / path).write_text(original)
                alive += not failed
                said = f"killed: {failed}" if failed else "SURVIVED"
            print(f"{path}:{line} {said}", *difference, sep="\n    ", flush=True)
    if not args.list:
        low, high = binomtest(alive, len(drawn)).proportion_ci(method="wilson")
        share = alive / len(drawn)
        print(f"{alive} of {len(drawn)} survived ({share:.0%}; 95 % interval {low:.0%} to {high:.0%})")


if __name__ == "__main__":
    main()
