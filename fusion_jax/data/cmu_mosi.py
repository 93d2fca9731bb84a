"""CMU-MOSI: is an utterance positive or negative, 2,199 utterances of 93 opinion videos in text, audio and video.

The conversation graph of this collection. Text is far ahead of the others (logistic regression 76 %, audio and video
below the 62 % of the larger class): does a fusion leave weak modalities aside, and does it use what was said before?
"""

from __future__ import annotations

import jraph
import numpy as np

from fusion_jax.data import splits
from fusion_jax.data.base import Dataset, Provenance, Summary, edge_set
from fusion_jax.data.files import Files
from fusion_jax.records import Target

SOURCE = "Zadeh et al. 2016, features of Poria et al., ACL 2017: declare-lab/multimodal-deep-learning @ 111b401d"
LICENCE = "MIT for the repository; the terms of the CMU-MOSI videos are not stated there"
FILES = Files(
    folder="cmu-mosi",
    repository="declare-lab/multimodal-deep-learning",
    commit="111b401d867c14a1dcd930fd2b2ab58a5eca3f70",
    path="contextual-utterance-level-multimodal-sentiment-analysis/data",
    sha256={
        "audio_test0.csv": "ddd17eeefd3d951d51d4e2ef8a0d132652d8161e1886f71eb7262b7a14bffff6",
        "audio_train0.csv": "5435398a54664e7b00304587dc59ae84a438852be033c2a2fba779588624a2a1",
        "derived_utterances.csv": "7711e308fb32ee6242b9367ff55523b95116e40cb2260c7b5fe839c5a8e351b1",
        "text_test0.csv": "a343e22272919d1384c2075dbcdd5fef5aa9f9366b0552a83f7c3147b64b047a",
        "text_train0.csv": "cc327045db6cc361a08b4037b97bb24de4ddb5efb381468c4835cc4a60674668",
        "video_test0.csv": "cab836253d81100f59d533fa2ff65cd53c486be3ec9fd82203c5e25a7a77265f",
        "video_train0.csv": "b6efc0413132d627efd06f67f1706830e775e90af9a75696f535c48dbc73f12f",
    },
    derived=("derived_utterances.csv",),
    folders={f"{kind}_{part}0.csv": kind for kind in ("text", "audio", "video") for part in ("train", "test")},
)
CHECKSUM = FILES.checksum
MODALITIES = {"text": 100, "audio": 73, "video": 100}
SUMMARY = Summary(nodes=2199, modalities=MODALITIES, classes=2, graphs=("dialogue", "past"))


def load(val_fraction: float = 0.2, window: int = 3) -> Dataset:
    """Modalities `text` [100], `audio` [73], `video` [100]; an utterance is a node, its id "video:position".

    Rows stand as spoken, video after video, and not as in the files: `derived_utterances.csv`, made from the index of
    the upstream files, gives the video (a number) and the position of each of their lines. Edges join utterances of a
    video that are at most `window` positions apart: `dialogue` both ways, `past` from the earlier to the later alone.
    Training and test rows are those of the files, 62 and 31 videos; so no edge crosses.

    The text features tell more on training rows than on test rows (logistic regression on text, C = 0.01: accuracy 0.98
    and 0.76), as of a network that was trained on those labels: scores on training rows, and on the rows of them that
    validate, are flattered.

    Args:
        val_fraction: share of the training videos that validates, drawn per seed, each with all its utterances.
        window: how many positions an edge spans at most, at least 1.
    Raises:
        ValueError: a window below 1; files whose lines or labels do not fit each other.
    """
    if window < 1:
        raise ValueError(f"data set 'cmu_mosi': window={window}; expected at least 1")
    test, line, video, position, labels = _utterances()
    features = {}
    for name in MODALITIES:
        parts = [_table(f"{name}_{part}0.csv") for part in ("train", "test")]
        x = np.concatenate(parts)[np.where(test, len(parts[0]) + line, line)]
        if not np.array_equal(x[:, -1], labels):  # the last column
            raise ValueError(f"data set 'cmu_mosi': the labels of {name} differ from those of derived_utterances.csv")
        features[name] = x[:, :-1].astype(np.float32)
    return Dataset(
        name="cmu_mosi",
        features=features,
        mask=np.ones((len(labels), len(features)), bool),
        graphs=dialogue(video, window),
        target=Target("classes", labels=labels, num_outputs=2),
        splits=splits.fixed_test_groups(video, ~test, test, val_fraction, called="videos"),
        provenance=Provenance(SOURCE, LICENCE, CHECKSUM),
        class_names=("negative", "positive"),
        default_graph="dialogue",
        ids=np.array([f"{v}:{p}" for v, p in zip(video, position, strict=True)]),
    )


def _utterances() -> tuple[np.ndarray, ...]:
    """Whether an utterance is of the test file, its line there from 0 on, video, position, label; as spoken."""
    table = np.loadtxt(FILES.get("derived_utterances.csv"), delimiter=",", skiprows=1, dtype=str)
    test = table[:, 0] == "test"
    line, video, position, labels = table[:, 1:].astype(np.int32).T
    order = np.lexsort((position, video))
    return tuple(column[order] for column in (test, line, video, position, labels))


def _table(name: str) -> np.ndarray:
    return np.loadtxt(FILES.get(name), delimiter=",", quotechar='"')


def dialogue(video: np.ndarray, window: int) -> dict[str, jraph.GraphsTuple]:
    """`dialogue`, edges both ways between rows of a video that are at most `window` rows apart, and `past`, those from
    the earlier to the later.

    Args:
        video: int [N], rising: the rows of a video are consecutive, as spoken.
    """
    rows = np.arange(len(video))
    steps = [(rows[:-d][video[:-d] == video[d:]], d) for d in range(1, min(window, len(rows) - 1) + 1)]
    earlier = np.concatenate([start for start, _ in steps])
    later = np.concatenate([start + d for start, d in steps])
    both = np.concatenate([earlier, later]), np.concatenate([later, earlier])
    return {"dialogue": edge_set(*both, len(rows)), "past": edge_set(earlier, later, len(rows))}
