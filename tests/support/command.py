"""The command as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
LEUKOSCOPE = [
    sys.executable,
    "-c",
    "import sys; sys.path.pop(0); from edge.cli.main import main; sys.exit(main())",
]
"""As the installed console script: the current folder is not on the module path."""

SAMPLES = ROOT / "samples" / "cells"


def leukoscope(*arguments: object, cwd: Path = ROOT, **more: object) -> "subprocess.CompletedProcess[str]":
    environment = {**ENVIRONMENT, **more.pop("env", {})}  # type: ignore[dict-item]
    settings = {"capture_output": True, "text": True, "timeout": 90, **more}
    return subprocess.run([*LEUKOSCOPE, *map(str, arguments)], cwd=cwd, env=environment, **settings)


def clean(done: "subprocess.CompletedProcess[str]", status: int) -> str:
    """Its standard error; the exit status is as expected, and nothing ended in a traceback."""
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr
