"""Which white cells of the sets `raabin` and `pbc` are lymphocytes: `lymphocytes.txt`."""

from pathlib import Path

FILE = Path(__file__).with_name("lymphocytes.txt")


def lymphocytes(set_name: str) -> tuple[set[str], set[str]]:
    """Of a set, the names (without suffix) of the fields whose white cell is one, and of those for which it is not certain."""
    words: list[str] = []
    section = ""
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if line.endswith(":"):
            section = line[:-1]
        elif section == set_name:
            words += line.split()
    return {word for word in words if word[0] != "?"}, {word[1:] for word in words if word[0] == "?"}
