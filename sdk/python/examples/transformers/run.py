#!/usr/bin/env python3
"""Prefill in one process (or several), decode in another.

Needs a running kvferryd. Says what was published, what hit, how many tokens
each process computed, and whether the result is that of a run without a cache.
"""

import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

from arguments import parser

from kvferry import default_socket_path


def main() -> int:
    options = parser(__doc__).parse_args()
    socket = options.socket or default_socket_path()
    if not Path(socket).exists():
        print(
            f"no daemon at {socket}: start kvferryd, or name its --socket",
            file=sys.stderr,
        )
        return 2
    folder = Path(__file__).parent
    given = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        instance = secrets.randbits(63) | 1
        prefills = [
            subprocess.Popen([
                sys.executable, folder / "prefill.py", *given,
                "--rank", str(rank),
                "--rendezvous", f"{scratch}/rendezvous",
                "--engine-instance", str(instance),
            ])
            for rank in range(options.ranks)
        ]  # fmt: skip
        # All are waited for, whatever the first of them says.
        codes = [prefill.wait() for prefill in prefills]
    if any(codes):
        return 1
    return subprocess.run(
        [sys.executable, folder / "decode.py", *given], check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
