"""`leukoscope completion`: a script with which the shell completes commands, options and file names."""

import argparse
from typing import Any

from edge.cli.parser import make_parser
from edge.errors import LeukoscopeError


def command(options: argparse.Namespace) -> int:
    """Print the script.

    Raises:
        LeukoscopeError: shtab is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        raise LeukoscopeError("completion needs shtab: pip install shtab") from error
    parser = make_parser()
    _complete_files(parser, shtab.FILE, shtab.DIRECTORY)
    print(shtab.complete(parser, options.shell))
    return 0


def _complete_files(parser: argparse.ArgumentParser, file: Any, folder: Any) -> None:
    """Mark the options that take a file or a folder, by the name of their value."""
    for action in parser._actions:
        names = str(action.metavar or "")
        if "FILE" in names or "PATH" in names or "RUN" in names:
            action.complete = file  # type: ignore[attr-defined]
        elif "DIR" in names:
            action.complete = folder  # type: ignore[attr-defined]
        if isinstance(action, argparse._SubParsersAction):
            for inner in set(action.choices.values()):
                _complete_files(inner, file, folder)
