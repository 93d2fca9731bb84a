"""The amounts planted in data set `synthetic` with two modalities, exactly, from its symbols."""

import numpy as np


def planted(classes: int, redundant: float, unique: float, synergy: float) -> dict[str, float]:
    """Bits that symbols without noise say: of r and one u a modality, of r and both u by sums of log-odds (they are
    independent given the class, and t is in no sum), and of all with t."""

    def channel(knob):
        return knob * np.eye(classes) + (1 - knob) / classes  # [symbol, y]

    def bits(*symbols):
        p = np.full((1, classes), 1 / classes)
        for symbol in symbols:
            p = (p[:, None] * symbol[None]).reshape(-1, classes)
        ratio = np.where(p > 0, p, 1) / np.where(p > 0, p.sum(1, keepdims=True) / classes, 1)
        return float((p * np.log2(ratio)).sum())

    r, u, t = map(channel, (redundant, unique, synergy))
    one, sums, joint = bits(r, u), bits(r, u, u), bits(r, u, u, t)
    return dict(redundant=one, additive=sums - one, interaction=joint - sums, joint=joint)
