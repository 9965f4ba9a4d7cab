"""What the command line says, to every benchmark."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    # The build that is compared with: of the C++ benchmark's program.
    build: Path
    quick: bool = False

    @property
    def repository(self) -> Path:
        return Path(__file__).resolve().parents[3]

    def rounds(self, full: int, quick: int) -> int:
        return quick if self.quick else full


def processors() -> tuple[int, int] | None:
    """One for the thread that measures, one for everybody else; None when there
    is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else None


def keep_to(processor: int, pid: int = 0) -> None:
    """All threads of process `pid` (0: this one)."""
    for thread in os.listdir(f"/proc/{pid or os.getpid()}/task"):
        os.sched_setaffinity(int(thread), {processor})
