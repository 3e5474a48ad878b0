"""The doctor's findings for people: one line each as soon as it is there, in colour on a terminal, and a count."""

import contextlib
import shutil
import sys
import textwrap
from collections.abc import Sequence
from types import TracebackType

from edge.doctor.findings import Finding
from edge.host.terminal import console

_COLOURS = {"ok": "32", "unknown": "90", "warning": "33", "failed": "1;31"}
_INDENT = " " * 21
_LEAST_COLUMNS = 40
"""Of the text beside the indent; a narrower terminal folds lines by itself."""


class Show:
    """Shows findings while it is entered, with a moving sign on a terminal as long as a check takes.

    Args:
        shown: False for nothing at all, as with --json.
        quiet: only what is to be mended.
    """

    def __init__(self, shown: bool, quiet: bool):
        self._shown, self._quiet = shown, quiet
        self._colours = console.colours(sys.stdout)
        self._waiting = contextlib.ExitStack()

    def __enter__(self) -> "Show":
        if self._shown and not self._quiet and console.is_terminal(sys.stdout):
            from rich.console import Console

            self._waiting.enter_context(Console().status("checking …"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.close()

    def found(self, finding: Finding) -> None:
        """Show one finding."""
        if not self._shown or (self._quiet and finding.state in ("ok", "unknown")):
            return
        state = f"{finding.state:8}"
        if self._colours:
            state = f"\x1b[{_COLOURS[finding.state]}m{state}\x1b[0m"
        print(f"{state}{finding.name:13}" + f"\n{_INDENT}".join(_lines(finding.message)), flush=True)
        if finding.command:
            print(f"{_INDENT}→ {finding.command}", flush=True)

    def end(self, findings: Sequence[Finding]) -> None:
        """The count of failures and warnings, by name."""
        if not self._shown or self._quiet:
            return
        failures, warnings = (
            [finding.name for finding in findings if finding.state == state]
            for state in ("failed", "warning")
        )
        unknown = [finding.name for finding in findings if finding.state == "unknown"]
        counted = [_counted("failure", failures, "No failures"), _counted("warning", warnings, "no warnings")]
        print("; ".join([*counted, *([f"not known: {', '.join(unknown)}"] if unknown else [])]))


def _lines(message: str) -> list[str]:
    """The message's lines, as long as a terminal is wide; elsewhere as they are. Commands are never broken: they are copied."""
    lines = message.split("\n")
    if not console.is_terminal(sys.stdout):
        return lines
    columns = max(_LEAST_COLUMNS, shutil.get_terminal_size().columns - len(_INDENT))
    return [
        short
        for line in lines
        for short in textwrap.wrap(line, columns, break_long_words=False, break_on_hyphens=False) or [""]
    ]


def _counted(word: str, names: Sequence[str], none: str) -> str:
    if not names:
        return none
    return f"{len(names)} {word}{'s' if len(names) > 1 else ''} ({', '.join(names)})"
