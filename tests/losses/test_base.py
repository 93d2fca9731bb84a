"""What holds for every loss: a task it is not defined for is refused by name."""

import numpy as np
import pytest

from fusion_jax import zoo
from fusion_jax.records import EVALUATION, Output, Target

N, C = 4, 3
TARGETS = {
    "classes": Target("classes", labels=np.arange(N) % C, num_outputs=C),
    "values": Target("values", values=np.ones((N, C)), num_outputs=C),
    "survival": Target("survival", time=np.ones(N), event=np.ones(N, bool), num_outputs=1),
}
ANY = ("probing_inter_modality",)  # compares features, whatever the task
DEFINED = dict.fromkeys(zoo.names("loss"), "classes") | {"mse": "values", "cox": "survival"}
DEFINED = {name: kind for name, kind in DEFINED.items() if name not in ANY}


@pytest.mark.parametrize("name", DEFINED)
@pytest.mark.parametrize("kind", TARGETS)
def test_a_task_it_is_not_defined_for_is_refused(name, kind):
    streams = np.zeros((N, 2, C))
    output = Output(streams[:, 0], streams, streams, streams[:, 0], np.ones((N, 2), bool))
    if kind != DEFINED[name]:
        with pytest.raises(ValueError, match=f"{name}.*{kind}"):
            zoo.get("loss", name)(output, TARGETS[kind], np.ones(N), context=EVALUATION)
