"""What a user would run instead: PyTorch Geometric eager, compiled by `torch.compile`, or with edges as a CSR matrix.

The same models as ours, one seed after another, with validation after every epoch. They keep no parameters of the best
epoch, which ours do, and use the optimiser's fused step.
"""

from __future__ import annotations

import functools
import pathlib
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torch_geometric
from torch import nn
from torch_geometric.nn import GATConv, GCNConv
from torch_geometric.utils import to_torch_csr_tensor

from . import peer_study, weights
from .cases import Attending, Case, Modalities, Propagate, Study, Training, edges, values
from .timing import Ready, called

EVERY = 97  # as in `ours`
LAYERS = {
    "gcn": lambda dim, heads: GCNConv(dim, dim, cached=True),
    "gat": lambda dim, heads: GATConv(dim, dim // heads, heads=heads),
}


class SelfAttention(nn.Module):
    """Attention over the modalities of a node, averaged: [N, M, D] -> [N, D]."""

    def __init__(self, dim: int):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim, bias=False) for _ in range(3))

    def forward(self, x):
        return attention(self.query(x), self.key(x), self.value(x))


def attention(q, k, v):
    """Of q, k, v [N, M, D], averaged to [N, D]."""
    return (torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, -1) @ v).mean(1)


class ConcatMlp(nn.Module):
    """An MLP of the modalities side by side: [N, M, D] -> [N, D]."""

    def __init__(self, modalities: int, dim: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(modalities * dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


class Net(nn.Module):
    """Linear encoders, a fusion, graph layers, a linear head."""

    def __init__(self, case: Training, widths: list[int], outputs: int):
        super().__init__()
        dim = case.dim
        self.encoders = nn.ModuleList(nn.Linear(width, dim) for width in widths)
        attends = case.fusion == "self_attention"
        self.fusion = SelfAttention(dim) if attends else ConcatMlp(len(widths), dim, case.hidden)
        self.layers = nn.ModuleList(LAYERS[case.layer](dim, case.heads) for _ in range(case.layers))
        self.head, self.rate = nn.Linear(dim, outputs), case.rate

    def forward(self, features, *edges):
        h = self.fusion(torch.stack([encoder(x) for encoder, x in zip(self.encoders, features, strict=True)], 1))
        for layer in self.layers:
            h = torch.relu(layer(F.dropout(h, self.rate, self.training), *edges))
        return self.head(F.dropout(h, self.rate, self.training))


def ready(case: Case, side: str, folder: pathlib.Path, threads: int = 0) -> Ready:
    """The case, warmed up, after its outputs were found equal to ours.

    Raises:
        ValueError: they are not.
    """
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
    if threads:
        torch.set_num_threads(threads)
    with np.load(folder / "case.npz") as held:
        held = dict(held)
    if isinstance(case, Study):
        found = peer_study.ready(held, case.seeds, threads or torch.get_num_threads())
    else:
        make = {Training: _training, Propagate: _propagate, Attending: _attending, Modalities: _modalities}[type(case)]
        found = make(case, side, held)
    versions = dict(torch=torch.__version__, torch_geometric=torch_geometric.__version__)
    found.facts.update(versions=versions, threads=torch.get_num_threads())
    return found


def _compiled(f: Callable, side: str) -> Callable:
    return torch.compile(f, dynamic=False) if side == "compiled" else f


def _params(held: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k.removeprefix("params/"): v for k, v in held.items() if k.startswith("params/")}


def csr(edge_index: torch.Tensor, nodes: int, weight: torch.Tensor | None = None) -> torch.Tensor:
    """The matrix whose rows are receivers."""
    weight = torch.ones(edge_index.shape[1]) if weight is None else weight
    return to_torch_csr_tensor(edge_index.flip(0), weight, size=(nodes, nodes))


def _training(case: Training, side: str, held: dict[str, np.ndarray]) -> Ready:
    features = [torch.from_numpy(held[k]) for k in sorted(held) if k[0] == "x" and k[1:].isdigit()]
    edge_index, labels = torch.from_numpy(held["edges"]).long(), torch.from_numpy(held["labels"]).long()
    train, val = (torch.from_numpy(held[k]).long() for k in ("train", "val"))
    weight = torch.from_numpy(held["weight"]) if "weight" in held and case.layer == "gcn" else None
    given = (edge_index,) if weight is None else (edge_index, weight)
    if side == "csr":
        given = (csr(edge_index, len(labels), weight),)
    net = Net(case, [x.shape[1] for x in features], held["expected"].shape[1])
    weights.load(net, _params(held))
    net.eval()
    with torch.no_grad():
        net(features, *given)  # fills the cache of the normalised edges, so that it is not compiled
    run = _compiled(net, side)
    with torch.no_grad():
        found = weights.apart(held["expected"], run(features, *given).numpy())

    def one(seed: int) -> tuple[float, float]:
        """Seconds of the loop, and its best validation accuracy."""
        torch.manual_seed(seed)
        net.load_state_dict(Net(case, [x.shape[1] for x in features], held["expected"].shape[1]).state_dict())
        optimizer = torch.optim.AdamW(net.parameters(), case.learning_rate, weight_decay=case.weight_decay, fused=True)
        start, best = time.perf_counter(), 0.0
        for _ in range(case.epochs):
            net.train()
            optimizer.zero_grad()
            F.cross_entropy(run(features, *given)[train], labels[train]).backward()
            optimizer.step()
            net.eval()
            with torch.no_grad():
                out = run(features, *given)[val]
                F.cross_entropy(out, labels[val]).item()
                best = max(best, (out.argmax(1) == labels[val]).float().mean().item())
        return time.perf_counter() - start, best

    start = time.perf_counter()
    first = one(0)
    facts = dict(
        apart=found,
        parameters=sum(p.numel() for p in net.parameters()),
        warm_up_seconds=time.perf_counter() - start,
        scores=[first[1]],
    )
    return Ready(lambda: sum(one(seed)[0] for seed in range(case.seeds)), facts)


def _kernel(call: Callable[[], Any], apart: float) -> Ready:
    start = time.perf_counter()
    call()
    facts = dict(warm_up_seconds=time.perf_counter() - start, apart=apart)
    return Ready(functools.partial(called, call), facts)


def _propagate(case: Propagate, side: str, held: dict[str, np.ndarray]) -> Ready:
    senders, receivers = edge_index = torch.from_numpy(edges(case.nodes, case.edges)).long()
    x = torch.from_numpy(values(case.nodes, case.width)).requires_grad_()
    matrix = csr(edge_index, case.nodes) if side == "csr" else None

    def scattered(x):
        return x.new_zeros(case.nodes, case.width).index_add_(0, receivers, x[senders])

    forward = (lambda x: matrix @ x) if side == "csr" else _compiled(scattered, side)
    with torch.no_grad():
        found = weights.apart(held["expected"], forward(x)[::EVERY].numpy())

    def call():
        if not case.backward:
            with torch.no_grad():
                return forward(x)
        x.grad = None
        (forward(x) ** 2).sum().backward()

    return _kernel(call, found)


def _attending(case: Attending, side: str, held: dict[str, np.ndarray]) -> Ready:
    edge_index = torch.from_numpy(edges(case.nodes, case.edges)).long()
    x = torch.from_numpy(values(case.nodes, case.width)).requires_grad_()
    layer = GATConv(case.width, case.width // case.heads, heads=case.heads)
    weights.load(layer, {k.replace("linear.kernel", "lin.kernel"): v for k, v in _params(held).items()})
    forward = _compiled(layer, side)
    with torch.no_grad():
        found = weights.apart(held["expected"], forward(x, edge_index)[::EVERY].numpy())

    def call():
        x.grad = None
        layer.zero_grad()
        (forward(x, edge_index) ** 2).sum().backward()

    return _kernel(call, found)


def _modalities(case: Modalities, side: str, held: dict[str, np.ndarray]) -> Ready:
    size = case.nodes, case.modalities, case.width
    x = tuple(torch.from_numpy(values(*size, number=k)) for k in range(1 if case.whole else 3))
    module = attention
    if case.whole:
        module = SelfAttention(case.width)
        weights.load(module, _params(held))
    forward = _compiled(module, side)

    @torch.no_grad()
    def call():
        return forward(*x)

    return _kernel(call, weights.apart(held["expected"], call()[::EVERY].numpy()))
