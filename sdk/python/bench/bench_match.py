"""Matching packed keys, beside the same calls from C.

Goal: at most 1.5 times the time. Both sides take turns on one processor, in one
namespace; a call is match, the count of blocks, and release. The C side goes
through the C interface, as Python does: what that adds to the C++ call is less
than one part in a hundred of 1,024 keys.
"""

import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import kvferry
import numpy as np
import options
from options import Options
from row import NotMeasured, Row, median
from stage import measuring_processor, running_daemon, wait_for_memory

_PROMPT_KEYS = 1024
_CHUNK_CALLS = 32
# As many as the index and its pins take several times the caches.
_PROMPTS = 256
_QUICK_PROMPTS = 32


class MatchPeer:
    """match_peer.c as a process."""

    def __init__(
        self, opts: Options, directory: Path, socket_path: str, keys: bytes
    ) -> None:
        library = next(opts.build.rglob("libkvferry-c.so"), None)
        if library is None:
            raise NotMeasured(
                f"no libkvferry-c.so below {opts.build}: ./dev build release"
            )
        program = directory / "match_peer"
        compiler = os.environ.get("CC", "cc")
        try:
            subprocess.run(
                [compiler, "-std=c99", "-O2", "-D_POSIX_C_SOURCE=200809L",
                 f"-I{opts.repository}/include",
                 str(Path(__file__).parent / "match_peer.c"),
                 "-o", str(program), str(library),
                 f"-Wl,-rpath,{library.parent}"],
                check=True,
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError) as error:
            raise NotMeasured(f"match_peer.c: {error}") from error
        key_file = directory / "keys"
        key_file.write_bytes(keys)
        self._process = subprocess.Popen(
            [str(program), socket_path, "bench", str(key_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def measure(self, keys: int, first: int, calls: int) -> list[float]:
        """Nanoseconds of each call."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{keys} {first} {calls}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"match_peer: exit {self._process.wait()}")
        return [float(word) for word in line.split()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class PythonSide:
    def __init__(self, client: kvferry.Client, keys: bytes) -> None:
        self._client = client
        self._keys = memoryview(keys)
        self._prefix = client.match(keys[:16])

    def measure(self, keys: int, first: int, calls: int) -> list[float]:
        prompt = self._keys[16 * first : 16 * (first + keys)]
        match, prefix = self._client.match, self._prefix
        clock = time.perf_counter_ns
        samples = []
        for _ in range(calls):
            begin = clock()
            match(prompt, into=prefix)
            blocks = prefix.block_count()
            prefix.release()
            end = clock()
            assert blocks == keys, f"{blocks} of {keys} blocks"
            samples.append(float(end - begin))
        return samples


def _resident(client: kvferry.Client, prompts: int) -> bytes:
    """Publishes prompts; all their keys."""
    hasher = client.hasher()
    keys = []
    for prompt in range(prompts):
        tokens = np.arange(16 * _PROMPT_KEYS, dtype=np.uint32)
        tokens[0] = prompt
        keys.append(hasher.hash_blocks(tokens))
        _publish(client, keys[-1])
    return b"".join(keys)


def _publish(client: kvferry.Client, keys: bytes) -> None:
    """Its bytes are nobody's care."""
    with client.open_publication() as publication:
        publication.begin(keys)
        publication.commit_and_wait(0, _PROMPT_KEYS)


def run(opts: Options) -> Iterator[Row]:
    prompts = _QUICK_PROMPTS if opts.quick else _PROMPTS
    group = kvferry.GroupSpec(kv_count=1, head_bytes=256)  # 4 KiB a block
    pool_mib = prompts * _PROMPT_KEYS * 4096 // 2**20 * 5 // 4 + 64
    with (
        tempfile.TemporaryDirectory() as directory,
        running_daemon(f"{pool_mib} MiB") as daemon,
        kvferry.Client(
            "bench", groups=[group], socket_path=daemon.socket_path
        ) as client,
    ):
        wait_for_memory(daemon)
        keys = _resident(client, prompts)
        sides = PythonSide(client, keys)
        with MatchPeer(
            opts, Path(directory), daemon.socket_path, keys
        ) as peer:
            both = options.processors()
            if both is not None:
                options.keep_to(both[0], peer.pid)
            with measuring_processor():
                yield _measure(opts, "match 1024 keys, hot", sides, peer, 1)
                yield _measure(
                    opts, "match 1024 keys, random", sides, peer, prompts
                )


def _measure(
    opts: Options, name: str, python: PythonSide, peer: MatchPeer, prompts: int
) -> Row:
    numbers = random.Random(1)
    ours: list[float] = []
    theirs: list[float] = []
    # A hot prompt is asked over and over; of many, each call has another.
    calls = _CHUNK_CALLS if prompts == 1 else 1
    rounds = opts.rounds(120, 20) * (_CHUNK_CALLS // calls)
    for turn in range(rounds):
        first = numbers.randrange(prompts) * _PROMPT_KEYS
        other = numbers.randrange(prompts) * _PROMPT_KEYS
        one = (python.measure, ours, first)
        two = (peer.measure, theirs, other)
        for measure, samples, at in (one, two) if turn % 2 else (two, one):
            samples += measure(_PROMPT_KEYS, at, calls)
    p50, peer_p50 = median(ours), median(theirs)
    return Row(
        "match",
        name,
        p50 / peer_p50,
        "x C",
        at_most=1.5,
        more={"us": p50 / 1e3, "c_us": peer_p50 / 1e3, "samples": len(ours)},
    )
