"""Features as they are, zeros behind."""

import numpy as np
import pytest
from flax import nnx

from fusion_jax.encoders.padded import Padded


def test_zeros_stand_behind_and_a_wider_modality_is_refused():
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(Padded(3, 5, rngs=nnx.Rngs(0))(x), np.pad(x, ((0, 0), (0, 2))))
    np.testing.assert_array_equal(Padded(3, 3, rngs=nnx.Rngs(0))(x), x)
    with pytest.raises(ValueError, match="encoder 'padded': a modality of width 3 and D=2"):
        Padded(3, 2, rngs=nnx.Rngs(0))
