"""Which white cells of the set `raabin` are lymphocytes: `raabin_lymphocytes.txt`."""

from pathlib import Path

FILE = Path(__file__).with_name("raabin_lymphocytes.txt")


def lymphocytes() -> tuple[set[str], set[str]]:
    """Names (without suffix) of the fields whose white cell is a lymphocyte, and of those where that is not sure."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    words = [word for line in lines if not line.startswith("#") for word in line.split()]
    return {word for word in words if word[0] != "?"}, {word[1:] for word in words if word[0] == "?"}
