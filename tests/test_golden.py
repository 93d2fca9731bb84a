"""Numbers from the authors' code: one test a case, id `<slug>/<module>/<case>`.

Cases lie in `tests/golden/<slug>/<module>/<case>.npz` and in the folder `FUSION_JAX_GOLDEN` names, laid out the
same way. `tests/golden/<slug>/mapping.py` has one function a module of the reference,

    def <module>(case: dict[str, np.ndarray]) -> Iterable[tuple[name, ours, reference's]]

which builds our module from the shapes in the case, maps the reference's parameter names onto ours, and yields
what to compare, in float64. `RTOL = {module: tolerance}` there is for modules whose README names a float32 part.
"""

import importlib.util
import os
import pathlib
from unittest import mock

import jax
import numpy as np
import pytest

from fusion_jax.graphs import Graph

HERE = pathlib.Path(__file__).parent / "golden"
DEFAULT_RTOL = 1e-9


def find_cases() -> list[tuple[str, pathlib.Path]]:
    """(id, path) of all cases; a case outside takes the place of one here that has its id."""
    roots = [HERE] + [pathlib.Path(p) for p in os.environ.get("FUSION_JAX_GOLDEN", "").split(os.pathsep) if p]
    cases = {}
    for root in roots:
        for path in root.glob("*/*/*.npz"):
            cases["/".join((*path.parts[-3:-1], path.stem))] = path
    return sorted(cases.items())


def mapping(slug: str):
    path = HERE / slug / "mapping.py"
    if not path.exists():
        return None
    spec = importlib.util.spec_from_file_location(f"golden_{slug.replace('-', '_')}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(compare, case) -> list[tuple]:
    """What a mapping yields, computed in one program: run line by line, every operation is a program of its own.

    A mapping that looks at numbers on its way (by NumPy, or in a condition) is run line by line.
    """
    told, errors, create = [], jax.errors, Graph.create

    def on_the_host(*args, **options):
        with jax.ensure_compile_time_eval():
            return create(*args, **options)

    def traced():
        with mock.patch.object(Graph, "create", on_the_host):  # structures are made of its numbers
            told[:] = compare(case)
        return [ours for _, ours, _ in told]

    try:
        found = jax.jit(traced)()
    except (errors.ConcretizationTypeError, errors.TracerArrayConversionError, errors.TracerIntegerConversionError):
        return list(compare(case))
    return [(name, ours, reference) for (name, _, reference), ours in zip(told, found, strict=True)]


@pytest.mark.parametrize("path", [pytest.param(p, id=i) for i, p in find_cases()])
def test_golden(path: pathlib.Path):
    slug, module = path.parts[-3:-1]
    maps = mapping(slug)
    if maps is None and not path.is_relative_to(HERE):
        pytest.skip(f"no mechanism of {slug} here yet")
    with np.load(path, allow_pickle=False) as file:
        case = {name: file[name] for name in file.files}
    rtol = getattr(maps, "RTOL", {}).get(module, DEFAULT_RTOL)
    compared = 0
    for name, ours, reference in rows(getattr(maps, module), case):
        ours, reference = np.asarray(ours), np.asarray(reference)
        assert ours.shape == reference.shape, f"{name}: shape {ours.shape}, reference {reference.shape}"
        if rtol == DEFAULT_RTOL and np.issubdtype(reference.dtype, np.floating):
            assert ours.dtype == np.float64, f"{name}: computed in {ours.dtype}, golden numbers compare in float64"
        scale = np.max(np.abs(reference), initial=0.0)
        np.testing.assert_allclose(ours, reference, rtol=rtol, atol=rtol * scale, err_msg=name)
        compared += 1
    assert compared, f"{slug}/{module}: the mapping compares nothing"
