"""What commands say at their end, or when they are stopped."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
SAMPLES = ROOT / "samples" / "cells"
SLOW_READ = """
import sys, time
from train.data import verify
look = verify._look
def slow(*given):
    print("started", flush=True)
    time.sleep(0.2)
    return look(*given)
verify._look = slow
from edge.cli.main import main
sys.exit(main())
"""


def started(*command: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_run_through_a_folder_says_what_became_of_it(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "hem", tmp_path / "cells" / "hem")
    (tmp_path / "cells" / "broken.png").write_bytes(b"no picture")
    settings = tmp_path / "leukoscope.toml"
    settings.write_text(
        f'[camera]\nsource = "files:{tmp_path}/cells"\n[mqtt]\nport = 1\n[outbox]\nfile = "{tmp_path}/outbox.db"\n'
    )
    said = []
    for _ in range(2):
        run = started("-m", "edge", "run", "--config", settings)
        for line in run.stderr or ():
            if "results" in line:
                said.append(line)
                break
        run.terminate()
        run.communicate(timeout=30)
    counted = re.search(r"20 results: (.*?); 1 images could not be read; 20 wait in", said[0])
    assert counted is not None, said[0]
    assert sum(int(part.split()[0]) for part in counted.group(1).split(", ")) == 20
    assert "HEM" in counted.group(1)
    assert "nothing listens on port 1" in said[0]
    assert "0 results; 21 images were done before" in said[1]
    assert "not a diagnosis" in said[0]


def test_a_check_of_a_data_set_that_is_stopped_says_how_far_it_came(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    check = started("-c", SLOW_READ, "dataset", "verify", SAMPLES)
    assert check.stdout is not None
    assert check.stdout.readline().startswith("started")  # several threads read at once
    check.send_signal(signal.SIGINT)
    _, error = check.communicate(timeout=30)
    assert check.returncode == 130
    assert "of 40 images are checked" in error
    assert "Traceback" not in error
