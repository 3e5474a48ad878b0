"""Training on another backend of Keras: the tests of what differs between backends, run there."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_killed_run_ends_as_an_unbroken_one_on_jax_too() -> None:
    tests = [str(Path(__file__).with_name("test_training.py")), "-k", "killed and leukoscope or own_arrays"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *tests],
        capture_output=True,
        text=True,
        env=os.environ | {"KERAS_BACKEND": "jax"},
        check=False,
    )
    assert done.returncode == 0, done.stdout
