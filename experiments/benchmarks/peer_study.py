"""The rows of a study as a plain PyTorch Geometric script trains them: SAGE layers, seven fusions, a row at a time."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import SAGEConv

from .study import rows_of
from .timing import Ready


def ready(held: dict[str, np.ndarray], seeds: int, threads: int) -> Ready:
    """The script, which shares its rows out to as many processes as there are cores."""
    rows = rows_of(held)
    trained(rows[0] | dict(epochs=1), 1)

    def run() -> float:
        start = time.perf_counter()
        if threads == 1:
            scores = [trained(row, seeds) for row in rows]
        else:
            with ProcessPoolExecutor(threads, get_context("spawn"), _one_thread) as pool:
                scores = list(pool.map(trained, rows, [seeds] * len(rows)))
        facts["scores"] = {
            f"{i} {row['label']}": score for i, (row, score) in enumerate(zip(rows, scores, strict=True))
        }
        return time.perf_counter() - start

    facts = {}
    return Ready(run, facts)


def _one_thread() -> None:
    torch.set_num_threads(1)


class Fusion(nn.Module):
    """[N, M, D] and who has what [N, M, 1] -> [N, D]; slots of missing modalities are 0."""

    def __init__(self, kind: str, modalities: int, dim: int, rank: int = 4):
        super().__init__()
        self.kind, wide = kind, modalities * dim
        if kind == "concat_linear":
            self.out = nn.Linear(wide, dim)
        elif kind == "concat_mlp":
            self.out = nn.Sequential(nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, dim))
        elif kind == "self_attention":
            self.q, self.k, self.v = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        elif kind == "gmu":
            self.values = nn.Parameter(torch.randn(modalities, dim, dim) / dim**0.5)
            self.gate = nn.Linear(wide, dim if modalities == 2 else wide, bias=False)
        elif kind == "lmf":
            drawn = torch.randn(modalities, rank, dim, dim) / (modalities * dim) ** 0.5
            self.factors = nn.Parameter(torch.cat([torch.ones(modalities, rank, 1, dim), drawn], 2))
            self.weights, self.bias = (
                nn.Parameter(torch.randn(rank) * (2 / (1 + rank)) ** 0.5),
                nn.Parameter(torch.zeros(dim)),
            )
        elif kind not in ("mean", "late_logits"):
            raise ValueError(f"the script has no fusion {kind!r}")

    def forward(self, x, there):
        if self.kind in ("concat_linear", "concat_mlp"):
            return self.out(x.flatten(1))
        if self.kind == "self_attention":
            scores = self.q(x) @ self.k(x).transpose(1, 2) / x.shape[-1] ** 0.5
            weights = torch.softmax(scores.masked_fill(there.transpose(1, 2) == 0, -1e9), -1)
            return ((weights @ self.v(x)) * there).sum(1) / there.sum(1).clamp(min=1)
        if self.kind == "gmu":
            h, logits = torch.tanh(torch.einsum("nmd,mde->nme", x, self.values)), self.gate(x.flatten(1))
            if x.shape[1] == 2:
                both = torch.stack([logits, torch.zeros_like(logits)], 1).masked_fill(there == 0, -1e9)
                return (torch.softmax(both, 1) * there * h).sum(1)
            return (torch.sigmoid(logits.view_as(x)) * there * h).sum(1)
        if self.kind == "lmf":
            one = torch.cat([torch.ones_like(x[..., :1]), x], -1)
            products = torch.einsum("nmi,mrio->nmro", one, self.factors).prod(1)
            return torch.einsum("r,nro->no", self.weights, products) + self.bias
        return (x * there).sum(1) / there.sum(1).clamp(min=1)


class Net(nn.Module):
    """Linear encoders; fusion before the layers, behind them (a stream of layers a modality) or of the predictions."""

    def __init__(self, row: dict[str, Any], widths: list[int]):
        super().__init__()
        dim, self.rate, self.placement, count = row["dim"], row["rate"], row["placement"], len(widths)
        self.encoders = nn.ModuleList(nn.Linear(width, dim) for width in widths)
        self.fusion = Fusion(row["fusion"], count, dim, row["rank"] or 4)
        streams = 1 if self.placement == "before" else count
        self.streams = nn.ModuleList(
            nn.ModuleList(SAGEConv(dim, dim) for _ in range(row["layers"])) for _ in range(streams)
        )
        self.heads = nn.ModuleList(
            nn.Linear(dim, row["outputs"]) for _ in range(count if self.placement == "decision" else 1)
        )

    def drop(self, h):
        return F.dropout(h, self.rate, self.training)

    def stream(self, i, h, edges):
        for layer in self.streams[i]:
            h = torch.relu(layer(self.drop(h), edges))
        return h

    def forward(self, features, there, edges):
        """The prediction, and of placement "decision" that of every modality, which the loss is made of."""
        x = torch.stack([encoder(f) for encoder, f in zip(self.encoders, features, strict=True)], 1) * there
        if self.placement == "before":
            return self.heads[0](self.drop(self.stream(0, self.fusion(x, there), edges))), None
        h = [self.stream(i, x[:, i], edges) for i in range(x.shape[1])]
        everywhere = torch.ones_like(there)  # behind message passing a node has what it has received
        if self.placement == "after":
            return self.heads[0](self.drop(self.fusion(torch.stack(h, 1), everywhere))), None
        logits = torch.stack([head(self.drop(h)) for head, h in zip(self.heads, h, strict=True)], 1)
        return self.fusion(logits, everywhere), logits


def trained(row: dict[str, Any], seeds: int) -> float:
    """The mean test accuracy of a row's seeds, each at its best epoch."""
    edges, labels = torch.from_numpy(row["edges"]).long(), torch.from_numpy(row["labels"]).long()
    mask = torch.from_numpy(row["mask"])
    raw = [torch.from_numpy(row[f"x{m}"]) for m in range(mask.shape[1])]
    scores = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        train, val, test = (torch.from_numpy(row[f"{part}{seed}"]).long() for part in ("train", "val", "test"))
        features = [_scaled(x, mask[:, m], train) for m, x in enumerate(raw)]
        net = Net(row, [x.shape[1] for x in raw])
        optimizer = torch.optim.AdamW(
            net.parameters(), row["learning_rate"], weight_decay=row["weight_decay"], fused=True
        )
        best, since, score = (-1.0, 0.0), 0, 0.0
        for epoch in range(row["epochs"]):
            net.train()
            optimizer.zero_grad()
            out, each = net(features, mask[..., None].float(), edges)
            _loss(out, each, train, labels).backward()
            optimizer.step()
            since += 1
            if (epoch + 1) % row["every"] == 0 or epoch + 1 == row["epochs"]:
                net.eval()
                with torch.no_grad():
                    out, _ = net(features, mask[..., None].float(), edges)
                    right = (out.argmax(1) == labels).float()
                    found = right[val].mean().item(), -F.cross_entropy(out[val], labels[val]).item()
                    if found > best:
                        best, since, score = found, 0, right[test].mean().item()
            if since >= row["patience"]:
                break
        scores.append(score)
    return float(np.mean(scores))


def _loss(out, each, rows, labels):
    """Cross entropy; where every modality predicts, the sum of theirs."""
    if each is None:
        return F.cross_entropy(out[rows], labels[rows])
    return sum(F.cross_entropy(each[rows, m], labels[rows]) for m in range(each.shape[1]))


def _scaled(x: torch.Tensor, there: torch.Tensor, train: torch.Tensor) -> torch.Tensor:
    """Columns of mean 0 and variance 1 on training rows; 0 where the modality is missing."""
    fitted = x[train][there[train]]
    deviation = fitted.std(0, correction=0)
    x = (x - fitted.mean(0)) / torch.where(deviation > 0, deviation, 1)
    return torch.where(there[:, None], x, 0).float()
