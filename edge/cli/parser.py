"""The parser of the command line: every command with its options, and what was probably meant."""

import argparse
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, cast

from edge.cli import box, host, laboratory, results
from edge.cli.arguments import quiet_option
from edge.host.terminal import console
from edge.host.text import harmless
from edge.notice import NOTICE

_CHOICE = re.compile(r"invalid choice: (?P<given>'.*?'|\S+) \(choose from (?P<known>.*)\)$", re.S)
_SHOWN_CHARACTERS = 60

GROUPS: dict[str, tuple[str, ...]] = {
    "look at it": ("demo", "classify", "bench"),
    "on the box": ("check", "doctor", "calibrate", "run", "web", "specimen", "model"),
    "results": ("log", "results", "report", "backup", "restore", "erase"),
    "a model that fits your laboratory": ("review", "adapt"),
    "a model of your own, on a PC": ("dataset", "train", "evaluate", "compare", "ensemble", "export"),
    "the shell": ("completion",),
}
"""The commands as `leukoscope --help` lists them."""


class _Help(argparse.HelpFormatter):
    """Descriptions fold at the terminal's width; examples are copied, so they stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return indent + text if text.startswith("example: ") else super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """As argparse's, but a mistyped command or option is answered with the nearest one."""

    def __init__(self, **settings: Any):
        super().__init__(formatter_class=_Help, **settings)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """See argparse; an unknown option is reported by the command that it was given to."""
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            getattr(options, "parser", self).refuse(unknown)
        return options

    def print_help(self, file: Any = None) -> None:
        """See argparse, which would take an output that cannot be written for one that was."""
        print(self.format_help(), file=file or sys.stdout, end="")

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Report arguments that this command does not know."""
        words = unknown[0].partition("=")[0]
        if not words.startswith("-"):
            self.error(f"unexpected argument: {harmless(words, _SHOWN_CHARACTERS)}")
        known = [option for action in self._actions for option in action.option_strings]
        self.error(f"unknown option {harmless(words, _SHOWN_CHARACTERS)}{_meant(words, known)}")

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, what was probably meant and where to read on; exit status 2."""
        found = _CHOICE.search(message)
        if found:
            given = found["given"].strip("'")
            known = [name.strip("' ") for name in found["known"].split(",")]
            name = (
                "unknown command" if "COMMAND" in message else "unknown action" if "ACTION" in message else ""
            )
            where = name or message[: found.start()].rstrip(": ") + ": not"
            message = f"{where} {harmless(given, _SHOWN_CHARACTERS)}{_meant(given, known)}"
        console.error(f"{message}\nsee: {self.prog} --help")
        self.exit(2)


class _TopParser(Parser):
    """The parser of all commands, which lists them by what they are for."""

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.texts: dict[str, str] = {}  # of each command

    def format_help(self) -> str:
        """See argparse."""
        width = max(map(len, self.texts)) + 4
        columns = max(40, shutil.get_terminal_size().columns - 2)
        lines = [self.format_usage(), f"{self.description}"]
        for group, names in GROUPS.items():
            lines.append(f"\n{group}:")
            for name in names:
                first = f"  {name}".ljust(width)
                lines.append(
                    textwrap.fill(
                        self.texts[name], columns, initial_indent=first, subsequent_indent=" " * width
                    )
                )
        lines.append(f"\nleukoscope COMMAND --help explains a command; leukoscope --version\n{self.epilog}\n")
        return "\n".join(lines)


class _NotAsked:
    """Takes the options of a command that is not asked for, and forgets them."""

    def __getattr__(self, _name: str) -> "Callable[..., _NotAsked]":
        return lambda *_given, **_named: self


class _Version(argparse.Action):
    """Prints the version and ends; it is looked up only if it is asked for, which takes a while."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str):
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_given: object) -> NoReturn:
        """See argparse."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("leukoscope")
        except PackageNotFoundError:
            number = "(not installed)"
        print(f"leukoscope {number}")
        parser.exit(0)


def make_parser(asked: str = "") -> _TopParser:
    """Every command with its options.

    Args:
        asked: the first word of the command line. If it is a command, the others have no options: to make them takes
            5 ms and 1 MB.
    """
    alone = any(asked in names for names in GROUPS.values())
    top = _TopParser(
        prog="leukoscope",
        description=f"A second pair of eyes for acute lymphoblastic leukemia. {NOTICE.capitalize()}.",
        epilog="example: leukoscope demo --seconds 20",
    )
    top.add_argument("--version", action=_Version, help="show the version and exit")
    commands = top.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    def add(name: str, command: str, text: str, example: str) -> argparse.ArgumentParser:
        top.texts[name] = text
        if alone and name != asked:
            return cast("argparse.ArgumentParser", _NotAsked())
        added: argparse.ArgumentParser = commands.add_parser(
            name,
            help=text,
            description=f"{text.rstrip('.')}{'' if text.endswith('?') else '.'} {NOTICE.capitalize()}.",
            epilog=f"example: leukoscope {example}",
        )
        added.set_defaults(command=command, parser=added)
        return added

    box.add_commands(add)
    results.add_commands(add)
    laboratory.add_commands(add)
    host.add_commands(add)
    _be_quiet_on_request(commands.choices)
    return top


def _be_quiet_on_request(commands: Mapping[str, argparse.ArgumentParser]) -> None:
    """Give --quiet to every command and action: `main` obeys it for all. A completion script is output alone."""
    for name, parser in commands.items():
        actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        for action in actions:
            _be_quiet_on_request(action.choices)
        if not actions and name != "completion":
            quiet_option(parser)


def _meant(given: str, known: Sequence[str]) -> str:
    import difflib  # late: most command lines have no faults

    near = difflib.get_close_matches(given.lower(), known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; give one of {', '.join(known)}" if known and not given.startswith("-") else ""
