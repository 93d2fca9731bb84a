"""How fast training is beside PyTorch Geometric: same models, weights and outputs, in turns, on the cores it is given.

    python -m experiments.benchmark --threads=1                          # the CPU's cases, one core
    python -m experiments.benchmark --case=A,C --repeats=9 --json=FILE   # two families of cases; all raw numbers kept
    python -m experiments.benchmark --suite=gpu --alone                  # our own side, on whatever device JAX has
    python -m experiments.benchmark --case=F --threads=2 --repeats=1     # a whole study, which no suite has: minutes
    python -m experiments.benchmark --list

Every side of a case runs in a process of its own. The peers (PyTorch Geometric eager, compiled by `torch.compile`, and
with the edges as a CSR matrix where its layers take one) load our weights, and a case whose outputs are not equal to
1e-4 has no times. Compilation and one warm-up run come first; then the sides take turns, and a ratio is that of the
medians, with the least and the greatest of the rounds behind it. Training runs all its epochs, and looks at the
validation rows after each. A whole study stops its seeds as it says, and so does the script that it is compared with.

The machine's limits are measured too: FLOP/s of a float32 product of 1024 x 1024, and bytes/s of a copy. FLOPs of a
training are the compiler's own figure; bytes are those that a case cannot avoid, or moves where no cache helps.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.util
import json
import os
import pathlib
import platform
import sys
import tempfile
from typing import Any

from .benchmarks import timing
from .benchmarks.worker import Failed, Side

NEEDED = ("torch", "torch_geometric")
PEERS = dict(eager="PyG eager", compiled="PyG compiled", csr="PyG CSR")


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line; what is wrong with it ends the program."""
    from .benchmarks import cases

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=cases.SUITES, default="cpu", help="which cases, unless some are named")
    parser.add_argument("--case", default="", help="cases or families of cases, A,B,...")
    parser.add_argument("--peers", default=",".join(PEERS), help="what ours is compared with")
    parser.add_argument("--alone", action="store_true", help="our own side only; needs no PyTorch")
    parser.add_argument("--repeats", type=int, default=5, help="rounds in which every side runs once")
    parser.add_argument("--threads", type=int, default=0, help="cores that a side may use; 0 for all")
    parser.add_argument("--nodes", type=int, default=0, help="another number of nodes, in graphs made from a seed")
    parser.add_argument("--epochs", type=int, default=0, help="another number of epochs")
    parser.add_argument("--json", type=pathlib.Path, help="the file for all raw numbers")
    parser.add_argument("--list", action="store_true", help="say what the cases are, and end")
    args = parser.parse_args(given)
    try:
        args.cases = cases.chosen(args.suite, [name for name in args.case.split(",") if name])
    except ValueError as error:
        parser.error(str(error))
    args.peers = [] if args.alone else [name for name in args.peers.split(",") if name]
    for name in args.peers:
        if name not in PEERS:
            parser.error(f"--peers={name}; there are: {', '.join(PEERS)}")
    for name, least in (("repeats", 1), ("threads", 0), ("nodes", 0), ("epochs", 0)):
        if getattr(args, name) < least:
            parser.error(f"--{name}={getattr(args, name)}; expected at least {least}")
    if args.nodes or args.epochs:
        args.cases = [case.resized(args.nodes, args.epochs) for case in args.cases]
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    compared = args.peers and any(not case.alone for case in args.cases)
    if missing and compared and not args.list:
        parser.error(
            f"{' and '.join(missing)}: not installed; pip install 'fusion_jax[bench]', or measure our own side --alone"
        )
    return args


def measured(case: Any, args: argparse.Namespace) -> dict[str, Any]:
    """All of a case: {"sides": {side: {"seconds": [...], facts}}, "ratios": {peer: ...}, "failed": {side: why}}."""
    from .benchmarks import cases

    found = dict(name=case.name, title=case.title, unit=case.unit, case=cases.as_dict(case), failed={})
    sides, held = {}, cases.as_dict(case)
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name in ("ours", *(peer for peer in case.peers if peer in args.peers and not case.alone)):
                try:
                    sides[name] = Side(held, name, pathlib.Path(folder), args.threads)
                except Failed as error:
                    found["failed"][name] = str(error)
                    if name == "ours":
                        return found | dict(sides={}, ratios={})
            try:
                seconds = timing.alternate({name: side.run for name, side in sides.items()}, args.repeats)
            except Failed as error:
                found["failed"]["in a run"] = str(error)
                return found | dict(sides={}, ratios={})
        finally:
            for side in sides.values():
                side.close()
    ratios = {
        name: dataclasses.asdict(timing.ratio(seconds["ours"], seconds[name])) for name in sides if name != "ours"
    }
    return found | dict(sides={k: {**s.facts, "seconds": seconds[k]} for k, s in sides.items()}, ratios=ratios)


def share(case: dict[str, Any], limits: dict[str, float]) -> str:
    """What part of the machine's limit ours reaches: "34 % of FLOP/s" or "70 % of bytes/s"; "" where neither is known.

    FLOPs are counted where the compiler counts them, bytes where the case says how many there are.
    """
    ours = case["sides"].get("ours", {})
    if not ours or not limits:
        return ""
    each = _median(ours["seconds"])
    if ours.get("moved"):
        return f"{ours['moved'] / each / limits['bytes_per_second']:.0%} of bytes/s"
    if ours.get("flops"):
        return f"{ours['flops'] / each / limits['flops_per_second']:.0%} of FLOP/s"
    return ""


def line(case: dict[str, Any], limits: dict[str, float]) -> str:
    """A case in one line of text."""
    said = [f"{case['name']:<10}"]
    for name, side in case["sides"].items():
        compared = case["ratios"].get(name)
        said.append(f"{PEERS.get(name, name)} {_time(side, case)}{f' {_ratio(compared)}' if compared else ''}")
    said += [reason for reason in [share(case, limits)] if reason]
    said += [f"failed: {why}" for why in case["failed"].values()]
    return f"{said[0]} {', '.join(said[1:])}"


def table(cases: list[dict[str, Any]], limits: dict[str, float]) -> str:
    """Markdown: a row a case; times are medians, ratios have the least and the greatest of the rounds behind them."""
    peers = [name for name in PEERS if any(name in case["sides"] for case in cases)]
    heads = ["case", "ours", *(PEERS[name] for name in peers), "memory, ours"]
    heads += [f"memory, {PEERS[name]}" for name in peers[:1]] + ["compile", "of the limit"]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for case in cases:
        sides = case["sides"]
        cells = [f"{case['name']}: {case['title']}", _time(sides["ours"], case) if sides else _failed(case, "ours")]
        for name in peers:
            told = f"{_time(sides[name], case)}, {_ratio(case['ratios'][name])}" if name in sides else ""
            cells.append(told or _failed(case, name))
        cells += [_memory(sides.get(name)) for name in ("ours", *peers[:1])]
        cells += [f"{sides['ours']['compile_seconds']:.1f} s" if "compile_seconds" in sides.get("ours", {}) else ""]
        cells += [share(case, limits)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _time(side: dict[str, Any], case: dict[str, Any]) -> str:
    seconds = _median(side["seconds"])
    return f"{1e3 * seconds:.3g} ms" if case["unit"] == "ms" else f"{seconds:.3g} s"


def _ratio(held: dict[str, float]) -> str:
    return str(timing.Ratio(**held))


def _memory(side: dict[str, Any] | None) -> str:
    """What the process held at most in a run, beyond what it holds between two."""
    return f"{side['peak_mb'] - side['before_mb']:,.0f} MB" if side else ""


def _failed(case: dict[str, Any], name: str) -> str:
    return "failed" if name in case["failed"] or case["failed"] and name == "ours" else ""


def _median(seconds: list[float]) -> float:
    return timing.statistics.median(seconds)


def machine(threads: int) -> dict[str, Any]:
    """Where and when, and on how many cores."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return dict(
        date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        cpu=_cpu(),
        cores=min(threads or allowed, allowed),
        system=platform.platform(),
        python=platform.python_version(),
    )


def _cpu() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(text.partition(":")[2].strip() for text in lines if text.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    args = arguments()
    if args.list:
        for case in args.cases:
            print(f"{case.name:<10} {case.title}")
        return
    where = machine(args.threads)
    print(f"{where['cpu']}, {where['cores']} core(s), {where['date']}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            limits = Side({}, "limits", pathlib.Path(folder), args.threads)
        except Failed as error:
            sys.exit(f"error: {error}")
        limits.close()
    limits = limits.facts
    print(f"limits: {limits['flops_per_second'] / 1e9:.0f} GFLOP/s, {limits['bytes_per_second'] / 1e9:.1f} GB/s")
    found, versions = [], {}
    for case in args.cases:
        found.append(measured(case, args))
        for side in found[-1]["sides"].values():
            versions |= side["versions"]
        print(line(found[-1], limits), flush=True)
        if args.json:  # after every case, so that one that is ended has what it measured
            held = dict(machine=where, limits=limits, versions=versions, arguments=sys.argv[1:], cases=found)
            args.json.write_text(json.dumps(held, indent=1))
    print(f"\n{table(found, limits)}\n")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    sys.exit(1 if any(case["failed"] for case in found) else 0)


if __name__ == "__main__":
    main()
