"""Files that put what a paper says to the test: a study each, with what it is about and how it differs from the paper.

Beside `get_config`, `sweep` and `claims` such a file has

    OF = ("fusion", "npt")     kind and name of the mechanism; ("fusion", "a"), ("scheme", "a") of one in several files
    SETTING = "..."            one sentence: our data, size and training, and how they differ from the paper's

What no training decides, a merging or an analysis of trained models, it measures:

    MEASURED = {"merged": "transformer"}    rows that claims may name, each with the label of the cell it is measured on
    def measured(cells): ...                {label: Restored} -> {row: {metric: {seed: value}}}
    QUANTITY = "share of nodes"             optional: what its values are, shown instead of the metric's name, whose
                                            direction and unit they have
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from fusion_jax import folders, zoo
from fusion_jax.study import defaults
from fusion_jax.study.cell import Cell
from fusion_jax.study.claims import Claim, claims_of
from fusion_jax.study.expand import expand
from fusion_jax.study.files import bundled, load, mistakes_in, split
from fusion_jax.study.keys import set_key


@dataclasses.dataclass(frozen=True)
class ClaimStudy:
    """One file, with the cells and claims that it has for an argument.

    Attributes:
        system: the file's name without ending: the paper's.
        path: of the file.
        argument: behind its colon, "" for none.
        of: kinds and names of the mechanisms.
        setting: how ours differs from the paper's.
        cells, claims: as of any study.
        measured: {row that is measured: label of its cell}.
        quantity: what their values are, "" where the metric says it.
        module: the file, executed.
    """

    system: str
    path: str
    argument: str
    of: tuple[tuple[str, str], ...]
    setting: str
    cells: tuple[Cell, ...]
    claims: tuple[Claim, ...]
    module: Any
    measured: Mapping[str, str] = dataclasses.field(default_factory=dict)
    quantity: str = ""

    @property
    def source(self) -> str:
        """FILE[:argument], as every command takes it."""
        return f"{self.path}:{self.argument}" if self.argument else self.path


def minutes(arg: str, changes: Mapping[str, Any], *, epochs: int = 120) -> ConfigDict:
    """The config of a study of minutes: the defaults with these keys changed, few epochs and early stopping.

    Args:
        arg: the study's argument, see `defaults.apply`.
        changes: {dotted key: value}.
        epochs: at most; a seed stops after half as many without a better validation score. "quick" has its own.
    """
    config = defaults.get_config(arg)
    if "quick" not in arg.split(","):
        set_key(config, "training.epochs", epochs)
        set_key(config, "training.patience", max(1, epochs // 2))
        set_key(config, "training.chunk", max(1, epochs // 4))
    set_key(config, "training.select_every", 2)
    for key, value in changes.items():
        set_key(config, key, value)
    return config


def claim_folder() -> str:
    """The folder of those that come with the package."""
    return str(bundled() / "claims")


def claim_studies(folder: str = "", argument: str = "", only: Sequence[str] = ()) -> list[ClaimStudy]:
    """The studies of a folder in the order of their names.

    Args:
        folder: "" for that of the package.
        argument: for all of them, such as "quick".
        only: the systems that are wanted; () for all.
    Raises:
        FileNotFoundError: the folder has no such files. ValueError: a system that is not there; a file that cannot be
            executed, has no claims, or does not say what it is about; names file, field, value and what was expected.
    """
    at = pathlib.Path(folders.expand(folder or claim_folder()))
    paths = {path.stem: path for path in sorted(at.glob("[!_.]*.py"))}
    if not paths:
        raise FileNotFoundError(f"{at} holds no study of a claim; expected files with get_config, sweep and claims")
    for system in only:
        if system not in paths:
            raise ValueError(
                f"no claim of {system!r} in {at}{zoo.nearest(system, paths)}; there are: {', '.join(paths)}"
            )
    return [claim_study(str(path), argument) for system, path in paths.items() if not only or system in only]


def claim_study(path: str, argument: str = "") -> ClaimStudy:
    """One of them. Errors as of `claim_studies`."""
    file, _ = split(path)
    module = load(file)
    setting, of = getattr(module, "SETTING", None), getattr(module, "OF", None)
    if not isinstance(setting, str) or not setting.strip():
        raise ValueError(
            f"{file}: SETTING={setting!r}; expected one sentence, how the setting differs from the paper's"
        )
    of = (of,) if of and isinstance(of, tuple) and all(isinstance(part, str) for part in of) else of
    pairs = isinstance(of, tuple) and of and all(isinstance(p, tuple) and len(p) == 2 for p in of)
    if not pairs:
        raise ValueError(f"{file}: OF={of!r}; expected (kind, name) of a mechanism, or a tuple of such pairs")
    for kind, name in of:
        if kind not in zoo.KINDS:
            raise ValueError(f"{file}: OF has the kind {kind!r}{zoo.nearest(kind, zoo.KINDS)}")
        if not zoo.is_path(name) and name not in zoo.names(kind):
            raise ValueError(f"{file}: OF has the {kind} {name!r}{zoo.nearest(name, zoo.names(kind))}; no such {kind}")
    with mistakes_in(file):
        cells = expand(module.get_config(argument), getattr(module, "sweep", None), argument)
        claims = claims_of(module, file, argument)
    if not claims:
        raise ValueError(f"{file}: no claims(); expected at least one sentence that its rows decide")
    measured = measured_of(module, file, [cell.label for cell in cells])
    quantity = getattr(module, "QUANTITY", "")
    if not isinstance(quantity, str) or (quantity and not measured):
        raise ValueError(f"{file}: QUANTITY={quantity!r}; expected a text, what the values of MEASURED are")
    system = pathlib.Path(file).stem
    setting, quantity = (" ".join(text.split()) for text in (setting, quantity))
    return ClaimStudy(system, file, argument, of, setting, tuple(cells), tuple(claims), module, measured, quantity)


def measured_of(module: Any, file: str, labels: Sequence[str]) -> dict[str, str]:
    """MEASURED of a file, {} without any.

    Args:
        labels: of its cells.
    Raises:
        ValueError: it is no such dictionary, names a row that is trained or a cell that is not, or nothing measures.
    """
    found = getattr(module, "MEASURED", {})
    texts = isinstance(found, dict) and all(isinstance(text, str) and text for pair in found.items() for text in pair)
    if not texts:
        raise ValueError(f"{file}: MEASURED={found!r}; expected {{row: label of the cell that it is measured on}}")
    for row, label in found.items():
        if row in labels:
            raise ValueError(f"{file}: MEASURED has {row!r}, which is the label of a row that is trained")
        if label not in labels:
            raise ValueError(f"{file}: MEASURED[{row!r}]={label!r}, no such row{zoo.nearest(label, labels)}")
    if bool(found) != callable(getattr(module, "measured", None)):
        raise ValueError(f"{file}: expected both MEASURED and measured(cells), or neither")
    return dict(found)
