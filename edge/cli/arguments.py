"""Values on the command line, checked: each function takes the text and gives the value, or refuses it."""

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path

from edge.host.text import harmless
from edge.notice import NOTICE

Add = Callable[[str, str, str, str], argparse.ArgumentParser]
"""Adds a command: its name, `module:function`, what it does, an example."""

AddAction = Callable[[str, str, str], argparse.ArgumentParser]
"""Adds an action of a command: its name, what it does, an example without `leukoscope COMMAND`."""

LARGEST_COUNT = 10**9
LONGEST_S = 10 * 365 * 86400.0
LARGEST_SEED = 2**32 - 1
"""What numpy's and TensorFlow's generators both take."""

LARGEST_SIDE_PX = 16384
_SHOWN_CHARACTERS = 30


def positive(text: str) -> float:
    """Seconds: a number above 0."""
    return _number(text, 0.0, LONGEST_S, above=True)


def share(text: str) -> float:
    """A number from 0 to 1."""
    return _number(text, 0.0, 1.0)


def points(text: str) -> float:
    """Percentage points, from -100 (a gain) to 100."""
    return _number(text, -100.0, 100.0)


def count(text: str) -> int:
    """A whole number from 1 up."""
    return _whole(text, 1, LARGEST_COUNT)


def whole(text: str) -> int:
    """A whole number from 0 to 2^32 - 1: a seed that every random generator takes."""
    return _whole(text, 0, LARGEST_SEED)


def sha256(text: str) -> str:
    """A sha256 as `sha256sum` prints it."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text}: not 64 hexadecimal digits, as sha256sum prints them")
    return text.lower()


def counts(text: str) -> list[int]:
    """Whole numbers from 1 up, with commas between them."""
    return [count(part) for part in text.split(",")]


def threads(text: str) -> list[int]:
    """Numbers of threads from 1 to 64, with commas between them."""
    return [_whole(part, 1, 64) for part in text.split(",")]


def size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT as two numbers of pixels."""
    width, _, height = text.lower().partition("x")
    return _whole(width, 1, LARGEST_SIDE_PX), _whole(height, 1, LARGEST_SIDE_PX)


def out_file(text: str) -> Path:
    """A file to write: its folder exists, and it is no folder itself."""
    path = Path(text)
    if not text or "\0" in text or path.is_dir():
        raise argparse.ArgumentTypeError(f"{harmless(text)}: give the name of a file")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(
            f"{harmless(text)}: the folder {path.parent} does not exist; create it first"
        )
    return path


def csv_file(text: str) -> str:
    """As `out_file`, or - for standard output; the text as it was given."""
    return text if text == "-" else str(out_file(text))


def config_option(p: argparse.ArgumentParser) -> None:
    """Add --config."""
    p.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the settings file (default: ./leukoscope.toml, then /etc/leukoscope/leukoscope.toml)",
    )


def json_option(p: argparse.ArgumentParser, text: str = "print one JSON document") -> None:
    """Add --json."""
    p.add_argument("--json", action="store_true", help=text)


def quiet_option(p: argparse.ArgumentParser) -> None:
    """Add --quiet; `edge.cli.parser` gives it to every command and action."""
    p.add_argument(
        "--quiet",
        action="store_true",
        help="no progress, notes or summary; results, warnings and errors only",
    )


def model_option(p: argparse.ArgumentParser) -> None:
    """Add --model."""
    p.add_argument(
        "--model",
        metavar="NAME|FILE",
        help="a name of `leukoscope model list`, or a file (default: the installed one)",
    )


def _number(text: str, least: float, most: float, above: bool = False) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (least < value <= most if above else least <= value <= most):
        words = f"a number above {least:g}" if above else f"a number from {least:g} to {most:g}"
        raise argparse.ArgumentTypeError(f"{harmless(text, _SHOWN_CHARACTERS)}: give {words}")
    return value


def _whole(text: str, least: int, most: int) -> int:
    digits = text.strip().lstrip("+")
    value = int(digits) if re.fullmatch(r"-?[0-9]{1,12}", digits) else None
    if value is None or not least <= value <= most:
        raise argparse.ArgumentTypeError(
            f"{harmless(text, _SHOWN_CHARACTERS)}: give a whole number from {least} to {most}"
        )
    return value


def actions_of(
    add: Add,
    command: str,
    text: str,
    example: str,
    function: str,
    options: Callable[[argparse.ArgumentParser], None],
) -> AddAction:
    """Add a command that has actions of its own.

    Args:
        text, example: of the command.
        function: `module:function` of an action, with `{}` for its name.
        options: adds what all actions take.

    Returns:
        What adds an action; its other options follow.
    """
    actions = add(command, "", text, example).add_subparsers(title="actions", required=True, metavar="ACTION")

    def add_action(name: str, text: str, example: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = actions.add_parser(
            name,
            help=text,
            description=f"{text}. {NOTICE.capitalize()}.",
            epilog=f"example: leukoscope {command} {example}",
        )
        added.set_defaults(command=function.format(name), parser=added)
        options(added)
        return added

    return add_action
