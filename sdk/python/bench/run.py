#!/usr/bin/env python3
"""Benchmarks of the Python package.

usage: run.py [--json] [--only NAME] [--quick] [--check] [--cxx-bench PROGRAM]

Prints each figure with its goal. $KVFERRYD is the daemon; PROGRAM is
kvferry-bench of the build that is compared with.
"""

import argparse
import os
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_REPOSITORY = _HERE.parents[2]
_PROGRAM = "build/release/tools/kvferry-bench/kvferry-bench"
_DAEMON = "daemon/kvferryd"

# The tests' daemon and watch are used here, too.
sys.path.insert(0, str(_HERE.parent / "tests"))

import bench_calls  # noqa: E402
import bench_copy  # noqa: E402
import bench_gil  # noqa: E402
import bench_match  # noqa: E402
from options import Options  # noqa: E402
from row import HEADER, NotMeasured  # noqa: E402

_BENCHES = {
    "match": bench_match.run,
    "copy": bench_copy.run,
    "gil": bench_gil.run,
    "calls": bench_calls.run,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line"
    )
    parser.add_argument(
        "--only", choices=sorted(_BENCHES), action="append", default=[]
    )
    parser.add_argument(
        "--quick", action="store_true", help="less memory, fewer rounds"
    )
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 when a goal is missed"
    )
    parser.add_argument(
        "--cxx-bench",
        type=Path,
        default=_REPOSITORY / _PROGRAM,
        help="kvferry-bench of the build to compare with",
    )
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    # build/tools/kvferry-bench/kvferry-bench
    build = arguments.cxx_bench.resolve().parents[2]
    os.environ.setdefault("KVFERRYD", str(build / _DAEMON))
    opts = Options(build=build, quick=arguments.quick)
    good = True
    if not arguments.json:
        print(HEADER)
    for name in arguments.only or _BENCHES:
        try:
            for row in _BENCHES[name](opts):
                print(row.json() if arguments.json else row.line(), flush=True)
                good = good and row.good is not False
        except NotMeasured as reason:
            print(f"{name}: not measured: {reason}", file=sys.stderr)
            good = False
    return 1 if arguments.check and not good else 0


if __name__ == "__main__":
    sys.exit(main())
