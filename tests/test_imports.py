"""Who may know whom: imports point downwards only, and no files import each other in a circle."""

from __future__ import annotations

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]

FLOORS = (  # from the ground up; rooms of one floor do not know each other
    ("arrays", "flaws", "folders", "keys", "one_thread", "outside", "parted", "terminal", "traced", "unpacked"),
    ("zoo",),
    ("graphs",),
    ("records", "plan"),
    ("types",),
    ("nn", "structures"),
    ("tasks",),
    ("metrics",),
    ("data",),
    ("layers", "mixers"),
    ("encoders", "readouts", "losses", "controls"),
    ("fusion",),
    ("model",),
    ("schemes",),
    ("training",),
    ("study",),
    ("results",),
    ("run",),
    ("analysis", "merging", "checking"),
    ("api",),
)
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}


def files() -> dict[str, pathlib.Path]:
    """{dotted name: file} of the package."""
    found = {}
    for path in sorted((ROOT / "fusion_jax").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


FILES = files()


def _above(name: str, level: int) -> list[str]:
    """What the dots of a relative import stand for."""
    package = name.split(".") if FILES[name].name == "__init__.py" else name.split(".")[:-1]
    return package[: len(package) + 1 - level] if level else []


def imported(name: str) -> set[str]:
    """The files of the package that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = ".".join([*_above(name, node.level), *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                found.add(inner if inner in FILES else module)
    return {module for module in found if module in FILES and module not in (name, "fusion_jax")}


def room(name: str) -> str:
    return name.split(".")[1]


def test_every_room_has_a_floor():
    rooms = {room(name) for name in FILES if name != "fusion_jax"}
    assert rooms == set(FLOOR)


@pytest.mark.parametrize("name", sorted(FILES))
def test_imports_point_downwards(name):
    if name == "fusion_jax":
        assert imported(name) == {"fusion_jax.flaws"}
        return
    upwards = {
        other for other in imported(name) if room(other) != room(name) and FLOOR[room(other)] >= FLOOR[room(name)]
    }
    assert not upwards, f"{name} (floor {FLOOR[room(name)]}) imports {sorted(upwards)}"


def test_no_circle():
    """Every file can be put behind all that it imports."""
    left = {name: imported(name) for name in FILES}
    while ready := [name for name, others in left.items() if not others & left.keys()]:
        for name in ready:
            del left[name]
    assert not left, {name: sorted(others & left.keys()) for name, others in left.items()}


def test_the_package_knows_no_script_and_no_test():
    for name, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            module = getattr(node, "module", None) or ""
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [module]
            assert not {n.split(".")[0] for n in names} & {"experiments", "configs", "tests"}, name
