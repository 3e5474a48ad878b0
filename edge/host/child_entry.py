"""Run as a script, by its path: starts a module of edge, or another program, as a child of `edge.host.children`.

`python -m MODULE` would look into the current folder first, so that a user's numpy.py or edge.py there would be run
instead of the real one.
"""

import sys
from os import path as _path

# Before any other import: the folder of this script holds modules with the names of others (secrets, text).
_HERE = _path.dirname(_path.abspath(__file__))  # noqa: PTH100, PTH120
sys.path[:] = [folder for folder in sys.path if _path.abspath(folder) != _HERE]  # noqa: PTH100
_ROOT = _path.dirname(_path.dirname(_HERE))  # noqa: PTH120
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

import ctypes  # noqa: E402
import os  # noqa: E402
import runpy  # noqa: E402
import signal  # noqa: E402

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Arguments: the parent's process id, or 0 to outlive it; "module" or "program"; its name; its arguments."""
    parent, kind, name, *rest = arguments
    if int(parent):
        # Set here, not between fork and exec in the parent: other threads of it may hold a lock at that moment.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):  # it died before this call
            sys.exit(1)
    if kind == "program":
        os.execv(name, [name, *rest])  # noqa: S606
    sys.argv[1:] = rest
    runpy.run_module(name, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
