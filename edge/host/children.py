"""Child processes: started so that no file of the current folder is run by mistake, and ended in order."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STOP_TIMEOUT_S = 10.0
_ENTRY = Path(__file__).resolve().with_name("child_entry.py")


def module_command(module: str, *arguments: str, ends_with_us: bool = False) -> list[str]:
    """The command that runs a module of this project with the interpreter of this process.

    Args:
        module: "edge" for the command line, or the full name of a module with a `__main__` part.
        arguments: of it.
        ends_with_us: end it by SIGTERM when the thread that starts it ends, however that happens.
    """
    return [sys.executable, str(_ENTRY), _parent(ends_with_us), "module", module, *arguments]


def program_command(program: str, *arguments: str) -> list[str]:
    """The command that runs another program, by its path, as long as the thread lives that starts it."""
    return [sys.executable, str(_ENTRY), _parent(True), "program", program, *arguments]


def _parent(ends_with_us: bool) -> str:
    return str(os.getpid()) if ends_with_us else "0"


@contextmanager
def running(command: list[str], stderr: int | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    """A child that is stopped when the block ends: by SIGTERM, after `STOP_TIMEOUT_S` by SIGKILL.

    Args:
        command: from `module_command` or `program_command`.
        stderr: as for `subprocess.Popen`; by default it is this process's own.
    """
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        stderr=stderr,
        start_new_session=True,  # Ctrl-C reaches this process alone, which stops its children in order
    )
    try:
        yield process
    finally:
        stop(process)


def stop(process: "subprocess.Popen[bytes]", timeout_s: float = STOP_TIMEOUT_S) -> bool:
    """End a child and wait for it; False if it had to be killed."""
    if process.poll() is not None:
        return True
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True
