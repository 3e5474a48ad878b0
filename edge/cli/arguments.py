"""Values on the command line, read and refused."""

import argparse
from collections.abc import Callable

Add = Callable[[str, str, str, str], argparse.ArgumentParser]
"""Adds a command: its name, `module:function`, what it does, an example."""


def positive(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def count(text: str) -> int:
    """A whole number from 1 up."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def whole(text: str) -> int:
    """A whole number from 0 to 2^32 - 1: what every random generator takes as its seed."""
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to {2**32 - 1}")
    return value


def counts(text: str) -> list[int]:
    """Such numbers with commas between them."""
    return [count(part) for part in text.split(",")]


def size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT as two such numbers."""
    width, _, height = text.lower().partition("x")
    return count(width), count(height)
