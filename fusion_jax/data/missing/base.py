"""What a mechanism of missing modalities may look at."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp

from fusion_jax.data.base import Dataset
from fusion_jax.records import Target


@dataclasses.dataclass(frozen=True)
class Nodes:
    """Nodes before anything is taken away.

    Attributes:
        name: of the data set, for messages.
        features: {modality: float [N, d_m], dense or SciPy CSR}; a NaN is a single value that is missing.
        mask: bool [N, M], true where the node has the modality.
        target: what is to be predicted.
        labelled: bool [N], false at nodes whose target is not known; None where all are.
        senders, receivers: int [E], of the edge set; None without one.
    """

    name: str
    features: dict[str, np.ndarray | sp.csr_matrix]
    mask: np.ndarray
    target: Target
    labelled: np.ndarray | None = None
    senders: np.ndarray | None = None
    receivers: np.ndarray | None = None

    @classmethod
    def of(cls, data: Dataset, graph: str = "") -> Nodes:
        """Those of a data set, with the named edge set (the default one if "")."""
        edges = data.graphs.get(graph or data.default_graph)
        ends = (None, None) if edges is None else (np.asarray(edges.senders), np.asarray(edges.receivers))
        return cls(data.name, data.features, data.mask, data.target, data.labelled, *ends)

    def column(self, mechanism: str, option: str, modality: str) -> int:
        """The place of a modality.

        Raises:
            ValueError: there is none of that name.
        """
        if modality not in self.features:
            raise ValueError(
                f"missing {mechanism!r}: {option}={modality!r}, expected a modality of data set {self.name!r}: "
                f"{', '.join(self.features)}"
            )
        return list(self.features).index(modality)
