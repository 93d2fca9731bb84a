"""How many cells are run at a time where nobody says."""

from __future__ import annotations

import os

from fusion_jax.run.pod import joined
from fusion_jax.training.compilation import check_platform


def default_workers() -> int:
    """Two on a CPU with two cores or more; one where an accelerator does the work, or several processes do."""
    return 2 if check_platform() == "cpu" and (os.cpu_count() or 1) > 1 and joined() is None else 1
