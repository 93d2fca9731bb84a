"""fusion_jax: ablations of multimodal feature fusion on graphs."""

__version__ = "0.2.0"
