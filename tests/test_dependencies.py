"""Dependencies point one way: edge needs neither the host side nor TensorFlow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOST_ONLY = ("tensorflow", "keras", "sklearn", "matplotlib", "torch", "jax", "train", "export")
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "edge").rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_of_edge_imports_where_the_host_packages_are_not(module: str) -> None:
    program = (
        "import sys\n"
        f"for name in {HOST_ONLY}: sys.modules[name] = None\n"  # an import of it now raises
        f"import {module}\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_host_command_names_what_to_install_where_the_host_packages_are_missing(tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise ModuleNotFoundError(\"no\", name='tensorflow')\n")
    (tmp_path / "keras.py").write_text("raise ModuleNotFoundError(\"no\", name='keras')\n")
    command = [sys.executable, "-m", "edge", "export", "nowhere", "--out", "x.tflite"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'leukoscope[train]'" in done.stderr
    assert "Traceback" not in done.stderr
