"""Shoulder exercises seen by a smartwatch: 2,369 windows of ten people, six channels as modalities, a graph of time.

Ten people do sets of seven exercises, once with each arm; every one of the 140 recordings is one exercise by one arm.
A node is a window of two seconds, its label the exercise. The file is part of the package seglearn, which is not
imported: real data that needs no download.
"""

from __future__ import annotations

import functools
import importlib.util
import pathlib
import pickle
from typing import Any

import numpy as np

from fusion_jax.data.base import Dataset, Provenance, Split, Splits, Summary, edge_set
from fusion_jax.data.files import check
from fusion_jax.data.masks import missing_at_random
from fusion_jax.data.pickles import read_pickle
from fusion_jax.records import Target

SOURCE = (
    "Burns et al., Shoulder physiotherapy exercise recognition: machine learning the inertial signals from a "
    "smartwatch, Physiological Measurement 2018, as in seglearn 1.2.5"
)
LICENCE = "BSD-3-Clause (seglearn)"
FILES = None  # part of seglearn
PACKAGE = ("seglearn", "seglearn==1.2.5")
CHECKSUM = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"  # of the file in the package
CHANNELS = ("ax", "ay", "az", "wx", "wy", "wz")  # of the file, in its order
BINS = 8  # of the spectrum
SUMMARY = Summary(nodes=2369, modalities={c: 2 + BINS for c in CHANNELS}, classes=7, graphs=("time",))
PEOPLE, SHORTEST = 10, 947  # people in the file, samples of its shortest recording


def load(window: int = 100, missing: float = 0.0, train: int = 4, val: int = 2, reach: int = 2) -> Dataset:
    """Modalities `ax`, `ay`, `az` (acceleration in g) and `wx`, `wy`, `wz` (rotation in rad/s) [10 each]; graph `time`.

    Of a channel in a window: mean, standard deviation, and log(1 + |F_k|), k = 1 ... 8, of the Fourier transform of
    what deviates from the mean, so that every feature is of its own window. Windows do not overlap; the end of a
    recording that fills none is left out. Edges join a window to the `reach` windows before and after it in its
    recording, so none joins two people and the graph alone says nothing of people without labels.

    Args:
        window: samples a window, 50 a second.
        missing: in [0, 1), probability that a window lacks a channel, for every window and channel by itself and the
            same ones at every load; a window that would lack all keeps one, drawn uniformly.
        train, val: people whose windows train and validate, drawn per seed; those of the rest are test.
        reach: how many windows back and ahead edges go.
    Raises:
        ImportError: seglearn is not installed; says how to install it.
        FileNotFoundError: the installed seglearn lacks the file. ValueError: an option out of range, or another file.
    """
    whole = dict(
        window=(window, 2 * BINS, SHORTEST),
        train=(train, 1, PEOPLE - 2),
        val=(val, 1, PEOPLE - 1 - train),
        reach=(reach, 1, SHORTEST),
    )
    for name, (value, low, high) in whole.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"watch: {name}={value!r}, expected a whole number in [{low}, {high}]")
    held = read()
    cut = [x[: len(x) - len(x) % window].reshape(-1, window, len(CHANNELS)) for x in held["X"]]  # [windows, T, M]
    recording = np.repeat(np.arange(len(cut)), [len(windows) for windows in cut])
    person = np.asarray(held["subject"])[recording]
    described = _describe(np.concatenate(cut))
    mask = missing_at_random(*described.shape[:2], missing, "watch")
    features = {c: np.where(mask[:, [m]], described[:, m], 0).astype(np.float32) for m, c in enumerate(CHANNELS)}
    return Dataset(
        name="watch",
        features=features,
        mask=mask,
        graphs={"time": _steps(recording, reach)},
        target=Target("classes", labels=np.asarray(held["y"], np.int32)[recording], num_outputs=len(held["y_labels"])),
        splits=_by_person(person, train, val),
        provenance=Provenance(SOURCE, LICENCE, CHECKSUM),
        class_names=tuple(held["y_labels"]),
        default_graph="time",
    )


def read() -> dict[str, Any]:
    """What the file holds: X, a list of recordings [T, 6]; y, subject, side of each; X_labels, y_labels.

    Raises:
        ImportError, FileNotFoundError, ValueError: as for `load`.
    """
    spec = importlib.util.find_spec("seglearn")  # finds the package and does not run it
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"data set 'watch' is read from a package that is not installed: pip install {PACKAGE[1]}")
    path = pathlib.Path(spec.submodule_search_locations[0], "data", "watch_dataset.npy")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: seglearn is installed without it: pip install --force-reinstall {PACKAGE[1]}")
    check(path, CHECKSUM)
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)  # an array of no axes that holds one dict, as a pickle
        try:
            return read_pickle(file.read()).item()
        except pickle.UnpicklingError as error:
            raise ValueError(f"{path}: {error}") from error


def _describe(windows: np.ndarray) -> np.ndarray:
    """[N, T, M] samples -> [N, M, 2 + BINS] features of each channel."""
    mean = windows.mean(1, keepdims=True)
    spectrum = np.log1p(np.abs(np.fft.rfft(windows - mean, axis=1))[:, 1 : BINS + 1])  # [N, BINS, M]
    return np.concatenate([mean, windows.std(1, keepdims=True), spectrum], axis=1).swapaxes(1, 2)


def _steps(recording: np.ndarray, reach: int):
    """Both directions of every pair of windows of one recording that are at most `reach` steps apart."""
    n = len(recording)
    early = np.concatenate([np.arange(n - step) for step in range(1, min(reach, n - 1) + 1)])
    late = np.concatenate([np.arange(step, n) for step in range(1, min(reach, n - 1) + 1)])
    same = recording[early] == recording[late]
    early, late = early[same], late[same]
    return edge_set(np.concatenate([early, late]), np.concatenate([late, early]), n)


def _by_person(person: np.ndarray, train: int, val: int) -> Splits:
    others = len(np.unique(person)) - train - val
    rule = f"{train} people train, {val} validate, the other {others} are test, drawn per seed"
    return Splits(functools.partial(_draw_people, person, train, val), fixed=False, rule=rule)


def _draw_people(person: np.ndarray, train: int, val: int, seed: int) -> Split:
    order = np.random.default_rng(seed).permutation(np.unique(person))
    parts = order[:train], order[train : train + val], order[train + val :]
    return Split(*(np.flatnonzero(np.isin(person, part)) for part in parts))
