"""Where the real material lies, and what a test needs of the machine."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.host.terminal import noise
from edge.model.installed import DEFAULT_MODEL

noise.quiet()  # before any test loads TensorFlow

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _no_handler_stays() -> Iterator[None]:
    """A command that ran within a test leaves no log handler behind: its stream is closed with the test."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    for handler in list(root.handlers):
        if handler not in before and not type(handler).__module__.startswith("_pytest"):
            root.removeHandler(handler)


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
