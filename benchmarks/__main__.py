"""`make bench`: run the benchmarks, print them, and leave them in `build/bench.json`, beside those not run again."""

import argparse
import json
import os
import sys
from functools import partial
from unittest.mock import patch

from benchmarks import cluster, convolutions, curves, own, training
from mli_utils.core.config import InputError, MLIError, choose
from mli_utils.runs import provenance, settings
from mli_utils.runs.files import write_atomically

BENCHES = {
    "train_fcn": training.bench,
    "curve_fcn": curves.bench,
    "law": curves.law,
    "own_fcn": partial(own.bench, name="own_fcn"),
    "own_cnn": partial(own.bench, name="own_cnn"),
    "train_conv": convolutions.bench,
    "grow_runs": training.growth,
    "grow_points": curves.growth,
    "cluster": cluster.bench,
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(BENCHES)}; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args(arguments)
    rows: list[dict] = []
    try:
        names = [choose("benchmark", name, BENCHES) for name in asked.names] or list(BENCHES)
        if asked.rounds < 1:
            raise InputError(f"ROUNDS={asked.rounds} is not allowed; allowed: a whole number from 1 up")
        stamp = provenance.stamp(provenance.processor(), "benchmarks")
        made = {"machine": stamp["device"], "code": stamp["code"], "date": stamp["date"][:10]}
        with patch.dict(os.environ, MLI_DEVICE="cpu", MLI_SCHEDULER=""):  # as the alternatives and the limit
            for name in names:
                rows += [row | made for row in BENCHES[name](asked.rounds)]
                keep(rows)
    except MLIError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_status
    for row in rows:
        share = "" if row["limit_share"] is None else f", {row['limit_share']:.0%} of the limit"
        ours = f"{row['name']} ({row['size']}): {row['seconds']:.3g} s{share}"
        print(f"{ours}; {row['alternative']}: {row['ratio']:.2f} times")
    print(f"the benchmarks: {settings.bench_file()}")
    return 0


def keep(rows: list[dict]) -> None:
    """Leave these rows in `build/bench.json` in place of those of the same names."""
    path, new = settings.bench_file(), {row["name"] for row in rows}
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    rows = rows + [row for row in before if row["name"] not in new]
    in_order = [row for name in BENCHES for row in rows if row["name"] == name]
    write_atomically(path, (json.dumps(in_order, indent=1) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
