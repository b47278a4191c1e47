"""`make bench`: run the benchmarks, print them, and leave them in `build/bench.json`, beside those not run again."""

import argparse
import json
import sys

from benchmarks import cluster, convolutions, curves, training
from mli_utils.core.config import MLIError, choose
from mli_utils.runs import provenance, settings
from mli_utils.runs.files import write_atomically

BENCHES = {
    "train_fcn": training.bench,
    "curve_fcn": curves.bench,
    "law": curves.law,
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
    try:
        rows = []
        for name in asked.names or BENCHES:
            rows += BENCHES[choose("benchmark", name, BENCHES)](asked.rounds)
    except MLIError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_status
    stamp = provenance.stamp(provenance.processor())
    rows = [row | {"machine": stamp["device"], "code": stamp["code"], "date": stamp["date"][:10]} for row in rows]
    keep(rows)
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
