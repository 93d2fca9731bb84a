"""fusion_jax: ablations of multimodal feature fusion on graphs."""

__version__ = "0.1.0"
