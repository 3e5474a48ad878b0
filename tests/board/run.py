"""`make board-test`: the project on a whole virtual ARM box, with its own kernel and systemd.

Installs from the offline bundle, classifies from V4L2 and from libcamera, and then breaks one thing after the
other. Prints a table of what was done and seen; the first check that fails ends it with status 1.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.board.checks import Checks
from tests.board.machine import Board, BoardError


def steps(checks: Checks) -> list[tuple[str, Callable[[], str]]]:
    """What is done, in order."""
    return [
        ("boot", checks.boot),
        ("install from the offline bundle", checks.install),
        ("sandbox and user", checks.sandbox),
        ("results from the simulator", checks.simulator),
        ("results from V4L2 (/dev/video0)", checks.v4l2),
        ("doctor and its bundle", checks.doctor),
        ("kill -9", checks.killed),
        ("process stopped (SIGSTOP)", checks.stopped_process),
        ("camera removed and brought back", checks.camera_removed),
        ("broker stopped for a while", checks.broker_stopped),
        ("disk full", checks.disk_full),
        ("power cut while writing, then boot", checks.power_cut),
        ("results from picamera2 (libcamera's virtual camera)", checks.picamera2),
        ("conformance of cameras (V4L2, picamera2)", checks.conformance),
        ("commands of docs/install.md", checks.guide),
        ("upgrade in place", checks.upgrade),
        ("back to the version before, by hand", checks.back),
        ("a version that never becomes ready", checks.rollback),
        ("removal", checks.removal),
    ]


def main() -> int:
    """Run the checks; see the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", type=Path, required=True, help="what build.sh made")
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the release archive")
    parser.add_argument("--work", type=Path, help="keep the disk here, and go on with it")
    parser.add_argument(
        "--only", nargs="*", help="these checks, by a part of their name (boot is always done)"
    )
    options = parser.parse_args()
    bundle = sorted(options.bundle.glob("leukoscope-*-arm64.tar.gz"))[-1]
    with tempfile.TemporaryDirectory(prefix="leukoscope-board-", dir=options.board) as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        board = Board(options.board, work, bundle)
        try:
            return run(Checks(board), options.only, work / "table.md")
        finally:
            board.cut_power()


def run(checks: Checks, only: list[str] | None, table: Path) -> int:
    """Do the checks and write one row of the table for each as soon as it is done."""
    for name, check in steps(checks):
        if only is not None and name != "boot" and not any(part in name for part in only):
            continue
        began = time.monotonic()
        try:
            seen, status = check(), "ok"
        except BoardError as error:
            seen, status = str(error), "FAILED"
        row = f"| {name} | {status} | {time.monotonic() - began:.0f} | {seen if status == 'ok' else 'see above'} |"
        if status != "ok":
            print(seen, file=sys.stderr)
        print(row, flush=True)
        with table.open("a") as out:
            out.write(row + "\n")
        if status != "ok":
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
