"""Lines that C++ libraries write to standard error by themselves, of no use to a user."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator

ENVIRONMENT = {
    "OPENCV_LOG_LEVEL": "SILENT",  # decoders: our messages name the file and the reason
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
"""Set before these libraries are loaded, unless the user has set them."""

_NOISE = re.compile(
    rb"INFO: Created TensorFlow Lite XNNPACK delegate"
    rb"|WARNING: All log messages before absl::InitializeLog"
    rb"|[IW]\d{4} \d\d:\d\d:\d\d\.\d+ "  # absl: information and warnings of TensorFlow's compiler
    rb"|I0000 00:00:|W0000 00:00:"
)


def quiet() -> None:
    """Silence the libraries; call it before they are loaded."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def without_noise() -> Iterator[None]:
    """Capture standard error, then write all of it except the known noise.

    For the short time in which a library is loaded or a network made: some cannot be silenced.
    """
    try:
        kept = os.dup(2)
    except OSError:  # standard error is closed
        yield
        return
    try:
        with tempfile.TemporaryFile() as held:
            os.dup2(held.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(kept, 2)
                held.seek(0)
                for line in held:
                    if not _NOISE.match(line):
                        os.write(2, line)
    finally:
        os.close(kept)
