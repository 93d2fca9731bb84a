"""How often a comparison marks a difference that is not there, and how often it finds one that is.

    python -m experiments.bench_statistics                 # 200 studies a line, some minutes on one core
    python -m experiments.bench_statistics --studies=1000

A study has 12 rows on 10 seeds: ridge classifiers on one draw of the data, with splits drawn anew for every seed, or
one split for all. Two ways in which nothing differs:

- views: every row sees a modality of its own, all drawn alike, beside one that all see. On the rows of one draw they do
  differ; what is asked is whether that holds for other rows of that kind.
- starts: every row is the same procedure on the breast cancer data of Wisconsin, with random features drawn anew.

Of every kind: in what share of the studies a row is marked that does not differ (95 % interval), what that share is for
Student's t, both after Holm; and how many of two rows are found whose classes lie further apart, and by how much. With
"until" five seeds at a time are added up to 30 where a row is undecided.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from absl import app, flags
from scipy import stats
from sklearn.datasets import load_breast_cancer

from fusion_jax.results import compare, influence, paired, sequential
from fusion_jax.results.row import Row

FLAGS = flags.FLAGS
ROWS, SEEDS, LIMIT = 12, 10, 30
PLANTED = (1, 2)


@dataclasses.dataclass(frozen=True)
class Setting:
    """A kind of study: how its rows come about, training and test rows, one split for all, planted differences."""

    kind: str
    train: int
    test: int
    fixed: bool = False
    apart: float = 0.0


SETTINGS = (
    Setting("views", 160, 40),
    Setting("views", 120, 80),
    Setting("views", 60, 100),
    Setting("views", 20, 160),
    Setting("starts", 160, 40),
    Setting("starts", 20, 160),
    Setting("starts", 100, 200, fixed=True),
    Setting("views", 160, 40, apart=0.8),
    Setting("views", 60, 100, apart=0.8),
    Setting("views", 20, 160, apart=0.8),
)


def data(setting: Setting, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Features [rows of the study, N, D] and labels [N] in {0, 1} of one study."""
    n = setting.train + setting.test
    if setting.kind == "starts":
        x, y = cancer()
        chosen = rng.permutation(len(y))[:n]
        return np.broadcast_to(x[chosen], (ROWS, n, x.shape[1])), y[chosen]
    y = rng.integers(0, 2, n)
    sign = 2.0 * y - 1
    shared = rng.normal(size=(n, 6)) + 0.25 * sign[:, None]
    own = rng.normal(size=(ROWS, n, 6)) + 0.35 * sign[:, None]
    own[list(PLANTED), :, :3] += setting.apart * sign[:, None]
    return np.concatenate([np.broadcast_to(shared, (ROWS, n, 6)), own], 2), y


@functools.cache
def cancer() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_breast_cancer(return_X_y=True)
    return (x - x.mean(0)) / x.std(0), y


def right(setting: Setting, x: np.ndarray, y: np.ndarray, train: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """bool [N], which rows a ridge classifier trained on `train` has right; "starts" gives it random features."""
    if setting.kind == "starts":
        x = np.tanh(x @ rng.normal(size=(x.shape[1], 40)) / 3)
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    a = x[train]
    weights = np.linalg.solve(a.T @ a + np.eye(a.shape[1]), a.T @ (2.0 * y[train] - 1))
    return (x @ weights > 0) == (y == 1)


def study(setting: Setting, rng: np.random.Generator, seeds: int) -> list[Row]:
    """The rows of one study, as a store's are read."""
    x, y = data(setting, rng)
    orders = [rng.permutation(len(y)) for _ in range(1 if setting.fixed else seeds)] * (seeds if setting.fixed else 1)
    trains, tests = [o[: setting.train] for o in orders], [np.sort(o[setting.train :]) for o in orders]
    rows = []
    for k in range(ROWS):
        correct = [right(setting, x[k], y, train, rng)[test] for train, test in zip(trains, tests, strict=True)]
        psi = [c - c.mean() for c in correct]
        known = dict(tested=tests[0], influence=dict(accuracy=np.array(psi)))
        if not setting.fixed:
            met, of_met = influence.by_seed(tests, [dict(accuracy=p[None]) for p in psi])
            known = dict(met=met, met_influence=of_met) if setting.test > setting.train else {}
        sizes = dict(train_rows=(setting.train,) * seeds, test_rows=(setting.test,) * seeds)
        about = dict(data="d", protocol="honest", setting="default", parameters=None, seconds=None)
        values = dict(accuracy=np.array([c.mean() for c in correct]))
        name = f"row {k}" if k else compare.BASELINE
        rows.append(Row(name, "before", values=values, seeds=tuple(range(seeds)), **about, **sizes, **known))
    return rows


def until(rows: list[Row]) -> tuple[list[compare.Comparison], float]:
    """Comparisons after the last look, and the mean number of seeds a row took."""
    looks = sequential.plan(SEEDS, LIMIT, 5)
    taken = {row.label: 1 for row in rows}  # looks
    for _ in looks:
        seen = [dataclasses.replace(row, looks=looks[: taken[row.label]], limit=LIMIT) for row in rows]
        seen = [first(row, row.looks[-1]) for row in seen]
        found = compare.against(seen, "accuracy")
        left = {row.label for c in found if not c.separated for row in (c.a, c.b)}
        if not left or max(taken.values()) == len(looks):
            break
        at = max(taken.values()) + 1
        taken = {label: at if label in left else n for label, n in taken.items()}
    return found, float(np.mean([looks[n - 1] for n in taken.values()]))


def first(row: Row, seeds: int) -> Row:
    """The row with its first seeds only."""
    fewer = {name: getattr(row, name)[:seeds] for name in ("seeds", "train_rows", "test_rows")}
    each = ("values", "influence", "met_influence")
    fewer |= {name: {m: v[:seeds] for m, v in getattr(row, name).items()} for name in each}
    return dataclasses.replace(row, **fewer)


def line(setting: Setting, studies: int, sequentially: bool) -> str:
    """What so many studies of one kind say."""
    rng, wrong, plain, found, took, apart = np.random.default_rng(0), 0, 0, 0, [], []
    planted = {f"row {k}" for k in PLANTED} if setting.apart else set()
    for _ in range(studies):
        rows = study(setting, rng, LIMIT if sequentially else SEEDS)
        compared, seeds = until(rows) if sequentially else (compare.against(rows, "accuracy"), float(SEEDS))
        took.append(seeds)
        null, others = ([c for c in compared if (c.a.label in planted) == there] for there in (False, True))
        wrong += any(c.separated for c in null)
        plain += bool((uncorrected(null) < compare.LEVEL).any())
        found += sum(c.better for c in others)
        apart += [c.difference for c in others]
    low, high = stats.binomtest(wrong, studies).proportion_ci(0.95, "wilson")
    how = f"{'fixed' if setting.fixed else 'drawn'}{', until' if sequentially else ''}"
    text = f"{setting.kind:<7}{setting.train:>4} / {setting.test:<4} {how:<13}{np.mean(took):>5.1f} "
    text += f"  {wrong / studies:.3f} ({low:.3f} to {high:.3f})  {plain / studies:.3f}"
    return text + (f"  {found / studies / len(PLANTED):.2f} of {np.mean(apart):+.3f}" if planted else "")


def uncorrected(compared: list[compare.Comparison]) -> np.ndarray:
    """Student's t over the seeds as if they were independent, after Holm."""
    values = [[row.values["accuracy"][: len(c.seeds)] for row in (c.a, c.b)] for c in compared]
    return paired.holm(np.array([paired.estimate(a - b).p() for a, b in values]))


def main(argv):
    del argv
    print("rows   train / test splits       seeds  some mark is false      t      found")
    for sequentially in (False, True):
        for setting in SETTINGS:
            print(line(setting, FLAGS.studies, sequentially), flush=True)


if __name__ == "__main__":
    flags.DEFINE_integer("studies", 200, "studies a line", lower_bound=1)
    app.run(main)
