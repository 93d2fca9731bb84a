"""Settings of all tests: x64, no implicit promotion, one compilation cache for all workers, quick compilation."""

import importlib.metadata
import os
import pathlib

FAST_COMPILATION = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
if importlib.metadata.version("jaxlib").startswith("0.10."):  # later versions do not know it, and refuse to start
    FAST_COMPILATION.append("--xla_cpu_use_fusion_emitters=false")  # a third of the time, measured on transformers
os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(__file__).parents[1] / ".cache" / "jax-tests"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ.setdefault("XLA_FLAGS", " ".join(FAST_COMPILATION))
