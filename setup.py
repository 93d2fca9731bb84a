"""What a wheel holds: the package, and inside it the commands and the studies, which lie beside it in a checkout.

The metadata is in setup.cfg, which cannot say that a package lies in a folder of another name.
"""

from setuptools import find_namespace_packages, find_packages, setup

studies = find_namespace_packages("configs", exclude=["*__pycache__*"])
setup(
    packages=[
        *find_packages(include=["fusion_jax*"]),
        "fusion_jax.commands",
        "fusion_jax.commands.benchmarks",
        "fusion_jax.configs",
        *(f"fusion_jax.configs.{name}" for name in studies),
    ],
    package_dir={"fusion_jax.commands": "experiments", "fusion_jax.configs": "configs"},
)
