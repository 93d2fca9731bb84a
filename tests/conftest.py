"""Settings of all tests: x64, no implicit promotion, one compilation cache for all workers, quick compilation.

Nothing that was compiled is ever dropped by itself, so that a worker would grow to several GB. What belongs together (a
module, in it the tests of one xdist group) runs together, and what it compiled is dropped behind it once the process is
large, or within it once it is very large; what others need of it comes back from the cache on disk.
"""

import ctypes
import gc
import importlib.metadata
import os
import pathlib

import numpy as np
import psutil

FAST_COMPILATION = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
KNOWN = {  # flags that not every version knows, which refuses to start: those of jaxlib that do
    "--xla_cpu_use_fusion_emitters=false": ("0.10.",),  # a third of the time, measured on transformers
    "--xla_cpu_parallel_codegen_split_count=1": ("0.10.", "0.12."),  # small programs need no threads: a tenth
}
FAST_COMPILATION += [k for k, versions in KNOWN.items() if importlib.metadata.version("jaxlib").startswith(versions)]
for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # beside other workers, threads mostly wait for each other
    os.environ.setdefault(threads, "1")
os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(__file__).parents[1] / ".cache" / "jax-tests"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ.setdefault("XLA_FLAGS", " ".join(FAST_COMPILATION))

STATES = {}  # of the `RNG` of every module, before its first test
LARGE, VERY_LARGE = 1.2e9, 1.6e9  # bytes
gc.set_threshold(200_000, 50, 100)  # what tracing makes is soon gone by itself: looking for cycles takes a twentieth


def place(item) -> tuple:
    group = item.get_closest_marker("xdist_group")
    return item.path, group and (group.args, tuple(group.kwargs.items()))


def pytest_collection_modifyitems(items):
    order = {place: i for i, place in enumerate(dict.fromkeys(map(place, items)))}
    items.sort(key=lambda item: order[place(item)])


def pytest_runtest_setup(item):
    """Every test of a module draws from its `RNG` as if it ran alone: workers share tests out in no fixed order."""
    generator = getattr(getattr(item, "module", None), "RNG", None)
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = STATES.setdefault(item.path, generator.bit_generator.state)


def pytest_runtest_teardown(item, nextitem):
    within = nextitem is not None and place(nextitem) == place(item)
    if psutil.Process().memory_info().rss > (VERY_LARGE if within else LARGE):
        import jax  # not before the settings above are made

        jax.clear_caches()
        gc.collect()
        if os.name == "posix" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)  # glibc keeps what is freed in small pieces
