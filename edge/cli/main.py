"""The one entry of the command line: signals, streams and errors are dealt with here, for every command.

Only modules that are loaded in a millisecond are imported at the top: a signal that arrives in the first moments
must meet its handler.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

STOPPED = 130
"""Exit status after Ctrl-C or SIGTERM with work unfinished."""

SERVICES = frozenset({"demo", "run", "log", "web"})
"""Commands that run until they are stopped: a stop is how they end, so their exit status is 0."""

ASKS = frozenset({"doctor", "specimen"})
"""Commands that connect to a broker for one question: that they are connected is no news, and would break the doctor's
line in two."""

_EXTRAS = {
    **dict.fromkeys(("train", "export", "tensorflow", "keras", "matplotlib"), "train"),
    **dict.fromkeys(("onnx", "onnxruntime", "openvino"), "bench"),
    "sklearn": "adapt",
    "cryptography": "sign",
    **dict.fromkeys(("sqlalchemy", "psycopg"), "log"),
    **dict.fromkeys(("starlette", "uvicorn", "jinja2", "markupsafe"), "web"),
}
"""Packages that a box need not have, and the extra that brings each; they are loaded when a command needs them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: those of the command line; None for the process's own.

    Returns:
        The exit status: 0 done; 1 it failed; 2 wrong usage, settings or input; 130 stopped, work unfinished.

    Raises:
        SystemExit: the usage is wrong (2), or help was asked for (0).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    service = next((word for word in words if not word.startswith("-")), "") in SERVICES
    if arguments is None:
        leave_on_signal(0 if service else STOPPED)
    try:
        return _guarded(words, service, interruptible=arguments is None and not service)
    finally:
        if arguments is None and service:  # it has ended in order; nothing is left to stop
            _on_signals(signal.SIG_IGN)


def leave_on_signal(status: int) -> None:
    """From here on SIGTERM and Ctrl-C end the process at once.

    For the time in which modules are loaded: nothing is open yet, and an exception in the middle of the loading
    of a library in C would crash it.
    """

    def leave(_number: int, _frame: FrameType | None) -> None:
        if status:
            os.write(2, b"leukoscope: stopped before it was done\n")
        os._exit(status)

    _on_signals(leave)


def interrupt_on_signal() -> None:
    """From here on SIGTERM and Ctrl-C raise KeyboardInterrupt: files are closed and children stopped."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    _on_signals(interrupt)
    sys.unraisablehook = _interrupt_again


def _interrupt_again(ignored: "sys.UnraisableHookArgs") -> None:
    """A stop that came while Python ran a destructor, where an exception is ignored: it is raised once more."""
    if ignored.exc_type is KeyboardInterrupt:
        again = (threading.main_thread().ident, signal.SIGINT)
        threading.Timer(0.05, signal.pthread_kill, again).start()
    else:
        sys.__unraisablehook__(ignored)


def _on_signals(handler: Any) -> None:
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, handler)


def _guarded(words: list[str], service: bool, *, interruptible: bool) -> int:
    try:
        from edge.cli import streams

        streams.prepare()
        try:
            status = _run(words, interruptible)
        except SystemExit as asked:  # of the parser
            raise SystemExit(streams.flush(_number(asked.code))) from None
        except OSError as failure:
            return streams.failed(failure)
        except Exception:  # the process's top: the traceback goes through the log, which redacts it
            _report_bug()
            return 1
        return streams.flush(status)
    except KeyboardInterrupt as stopped:
        if service:
            return 0
        _tell_stopped(str(stopped))
        return STOPPED


def _run(words: list[str], interruptible: bool) -> int:
    import logging

    from edge.cli.parser import make_parser
    from edge.errors import LeukoscopeError
    from edge.host import journal, secrets
    from edge.host.terminal import console, noise

    journal.set_up()
    threading.excepthook = _report_thread
    for word in words:
        secrets.remember_variables(word)  # passwords in addresses
    noise.quiet()
    parser = make_parser(words[0] if words else "")
    if not words:
        parser.print_help(sys.stderr)
        return 2
    options = parser.parse_args(words)
    quiet = getattr(options, "quiet", False)
    console.set_quiet(quiet)
    if quiet or words[0] in ASKS:
        logging.getLogger().setLevel(logging.WARNING)
    if options.command.startswith(("edge.", "train.laboratory")):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no large matrices are multiplied here
        os.environ.setdefault(
            "OPENCV_FOR_THREADS_NUM", "1"
        )  # see edge.imaging.cores; of child processes, too
    try:
        module, _, function = options.command.partition(":")
        command = getattr(_load(module), function)
        if interruptible:
            interrupt_on_signal()
        status: int = command(options)
    except LeukoscopeError as error:
        console.error(str(error))
        return error.exit_status
    return status


def _load(module: str) -> object:
    import importlib

    from edge.errors import LeukoscopeError

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        raise LeukoscopeError(f"{error.name} is not installed: pip install 'leukoscope[{extra}]'") from error


def _report_bug() -> None:
    import logging

    logging.getLogger(__name__).exception("unexpected error: a fault of this program, please report it")


def _report_thread(failure: threading.ExceptHookArgs) -> None:
    import logging

    if failure.exc_value is not None and failure.exc_type is not SystemExit:
        name = failure.thread.name if failure.thread else "?"
        logging.getLogger(__name__).error(
            "thread %s ended by an unexpected error", name, exc_info=failure.exc_value
        )


def _tell_stopped(unfinished: str) -> None:
    from edge.host.terminal import console

    console.error(f"stopped: {unfinished}" if unfinished else "stopped before it was done")


def _number(code: object) -> int:
    return code if isinstance(code, int) else int(code is not None)
