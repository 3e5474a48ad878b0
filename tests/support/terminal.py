"""A command on a terminal of a chosen size."""

import fcntl
import os
import re
import struct
import subprocess
import termios

from command import ENVIRONMENT, LEUKOSCOPE, ROOT


def on_terminal(columns: int, *arguments: object, stderr: bool = False, timeout_s: float = 60) -> list[str]:
    """What a command prints there, without colours and without the spaces at the end of lines; it must succeed.

    Args:
        columns: of the terminal, 40 lines high.
        stderr: whether standard error goes there too.
    """
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in ENVIRONMENT.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [*LEUKOSCOPE, *map(str, arguments)],
        cwd=ROOT,
        env={**environment, "TERM": "xterm-256color"},
        stdout=theirs,
        stderr=theirs if stderr else subprocess.DEVNULL,
    )
    os.close(theirs)
    printed = b""
    try:
        while part := os.read(ours, 65536):
            printed += part
    except OSError:  # Linux reports the end of a terminal in this way
        pass
    finally:
        os.close(ours)
    assert process.wait(timeout_s) == 0
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", printed.decode()).splitlines()]
