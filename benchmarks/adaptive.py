"""Adaptive curves against dense ones: how many evaluations each takes, and how far apart the plateaus' ends are.

python benchmarks/adaptive.py [SEEDS]
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from unittest.mock import patch

import mli_utils as mli
from mli_utils.config import FIELDS

GRID = 251  # equally spaced points, 0.004 apart, that tell where a plateau ends to ±0.002
DENSE = 1001  # what both are compared with
TOLERANCES = (0.05, 0.1, 0.2)


def measure(runs: Sequence[mli.Run], paths: Sequence[str] = ("linear", "homogeneous"), start: str = "own") -> dict:
    """Adaptive curves of runs beside those on 251 and on 1001 points. Seconds are of this machine.

    Returns
    -------
    dict of `curves`, how many; `evaluations` a curve (mean) and `most`, `grid` (251), and the seconds each way took;
    `worst` (α), the largest difference of a plateau's end from the dense curve's, over both measures and all
    tolerances, and `grid_worst`, that of the 251 points; `ends` compared, `missed` and `grid_missed`, how many of them
    differ by more than 0.002
    """
    frames, seconds = {}, {}
    for name, alphas in {"adaptive": "adaptive", "grid": GRID, "dense": DENSE}.items():
        began = time.perf_counter()
        frames[name] = mli.interpolate(runs, paths, alphas, start=start)
        seconds[name] = time.perf_counter() - began
    ends = {name: [_ends(frame, tolerance) for tolerance in TOLERANCES] for name, frame in frames.items()}
    apart = {
        name: [
            abs(x - y)
            for ours, theirs in zip(ends[name], ends["dense"], strict=True)
            for x, y in zip(ours, theirs, strict=True)
            if y == y  # not of a diverged run
        ]
        for name in ("adaptive", "grid")
    }
    curves = len(frames["dense"]) // DENSE
    sizes = frames["adaptive"].groupby([*FIELDS, "path"], dropna=False).size()
    return {
        "curves": curves,
        "evaluations": len(frames["adaptive"]) / curves,
        "most": int(sizes.max()),
        "grid": GRID,
        "seconds": seconds["adaptive"],
        "grid_seconds": seconds["grid"],
        "ends": len(apart["adaptive"]),
        "worst": max(apart["adaptive"]),
        "missed": sum(d > 0.002 for d in apart["adaptive"]),
        "grid_worst": max(apart["grid"]),
        "grid_missed": sum(d > 0.002 for d in apart["grid"]),
    }


def bench(rounds: int) -> list[dict]:
    """One row: adaptive curves of a few runs on digits, beside the grid that tells as much; measured once."""
    fields = dict(width=64, lr=0.03, epochs=100, bias=["none", "output"], seed=range(2))
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, MLI_STORE=folder):
        found = measure(mli.train(mli.grid(**fields, depth=[3, 9], init_scale=0.6)))
    ratio = found["grid_seconds"] / found["seconds"]
    return [
        {
            "name": "curve_adaptive",
            "seconds": found["seconds"],
            "alternative": f"{GRID} equally spaced points",
            "ratio": ratio,
            "limit_share": None,
            "alternative_seconds": found["grid_seconds"],
            "low": ratio,
            "high": ratio,
            "rounds": 1,
            "size": f"{found['curves']} curves on digits, {found['evaluations']:.0f} points each on average",
            **{name: found[name] for name in ("evaluations", "most", "ends", "worst", "missed", "grid_missed")},
        }
    ]


def _ends(frame, tolerance: float) -> list[float]:
    return mli.plateau(frame, tolerance)[["error_plateau", "loss_plateau"]].to_numpy().ravel().tolist()


if __name__ == "__main__":
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLI_STORE"] = folder  # so that nothing is read from an earlier call
        networks = dict(width=64, lr=0.03, epochs=100, bias=["none", "output", "all"], seed=range(100, 100 + seeds))
        configs = mli.grid(**networks, depth=[3, 5, 9], init_scale=[0.6, 0.8])
        runs = mli.train(configs)
        for start in ("own", "zero"):
            print(json.dumps({"start": start, **measure(runs, start=start)}, indent=1))
