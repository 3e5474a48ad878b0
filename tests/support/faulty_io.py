"""Runs a Python program whose reads, writes, syncs or locks fail at every Nth call: faulty_io.c, by LD_PRELOAD."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIBRARY = "faulty_io.so"


def build(folder: Path) -> Path:
    """The library, compiled into a folder; skips the test if there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (apt install gcc): errors of the disk cannot be injected")
    library = folder / LIBRARY
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "faulty_io.c", "-ldl"], check=True
    )
    return library


def faults(
    library: Path,
    calls: str,
    every: int,
    path: str,
    error: int = errno.EIO,
    off: Path | None = None,
    short: bool = False,
    told: Path | None = None,
) -> dict[str, str]:
    """The environment of a program that meets the faults.

    Args:
        calls: of write, pwrite, read, pread, fsync, fdatasync, fcntl (locks), joined by commas.
        every: the Nth of those calls fails.
        path: only on files whose path holds this text.
        error: such as errno.EIO, errno.ENOSPC, errno.EAGAIN.
        off: while this file exists, nothing fails.
        short: a failing write writes half of it first.
        told: gets one byte for each call that fails.
    """
    return {
        **os.environ,
        "PYTHONPATH": f"{HERE}:{ROOT}",
        "LD_PRELOAD": str(library),
        "FAULTY_CALLS": calls,
        "FAULTY_EVERY": str(every),
        "FAULTY_ERRNO": str(error),
        "FAULTY_PATH": path,
        "FAULTY_OFF": str(off or ""),
        "FAULTY_SHORT": str(int(short)),
        "FAULTY_TOLD": str(told or ""),
    }


def run_python(
    program: str, *arguments: object, environment: dict[str, str], timeout_s: float = 60.0
) -> "subprocess.CompletedProcess[str]":
    """Run a program given as text, and give what it printed."""
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
