"""Where the real material lies, and what a test needs of the machine."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.host.terminal import noise
from edge.model.installed import DEFAULT_MODEL

noise.quiet()  # before any test loads TensorFlow

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def cnmc() -> Path:
    """The folder of real C-NMC cells."""
    folder = Path(os.environ.get("LEUKOSCOPE_CNMC", ROOT.parent / "shared" / "cnmc"))
    if not folder.is_dir():
        pytest.skip(f"no C-NMC cells at {folder}; name their folder in LEUKOSCOPE_CNMC")
    return folder


@pytest.fixture(scope="session")
def shipped_model() -> Path:
    """The model file that ships."""
    return ROOT / "models" / DEFAULT_MODEL


@pytest.fixture(scope="session", autouse=True)
def _state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Loggers of the tests keep their ids in a folder of their own, not in this user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
