"""The line of each key in a TOML file, so that a message can name it; tomllib does not give it."""

import re
from collections.abc import Iterator

# A bare or quoted key, or several with dots between, before "=" or within [ ].
_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DOTTED = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_TABLE = re.compile(rf"[ \t]*\[\[?[ \t]*({_DOTTED})[ \t]*\]")
_KEY = re.compile(rf"[ \t]*({_DOTTED})[ \t]*=")
# What has to be skipped as a whole within a value.
_TOKEN = re.compile(
    r'''(?s)"""(?:[^"\\]|\\.|"(?!""))*"{3,5}|\'\'\'(?:[^']|'(?!''))*'{3,5}'''
    r"""|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|\#[^\n]*|[\[\]{}\n]"""
)


class Lines(dict[tuple[str, ...], int]):
    """Line numbers, from 1, by path: ("camera",) is the table's own line, ("camera", "fps") the key's."""

    def place(self, *path: str) -> str:
        """ ", line 7" for a path, or for the nearest part of it that has a line; "" if there is none."""
        for length in range(len(path), 0, -1):
            if path[:length] in self:
                return f", line {self[path[:length]]}"
        return ""


def key_lines(text: str) -> Lines:
    """The line of each table and key of a valid TOML text; keys within inline tables are left out."""
    lines = Lines()
    table: tuple[str, ...] = ()
    for number, start in _statements(text):
        if found := _TABLE.match(text, start):
            table = _parts(found.group(1))
            lines.setdefault(table, number)
        elif found := _KEY.match(text, start):
            path = (*table, *_parts(found.group(1)))
            for length in range(len(table) + 1, len(path) + 1):
                lines.setdefault(path[:length], number)
    return lines


def _statements(text: str) -> Iterator[tuple[int, int]]:
    """Line number and position of each statement: a line that does not begin within a value."""
    number = 1
    position = depth = 0
    begins = True
    while position < len(text):
        if begins:
            yield number, position
            begins = False
            if header := _TABLE.match(text, position):
                position = header.end()
        token = _TOKEN.search(text, position)
        if token is None:
            return
        sign = token.group()
        depth += (sign in "[{") - (sign in "]}")
        number += sign.count("\n")
        begins = sign == "\n" and depth <= 0
        position = token.end()


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part[1:-1] if part[0] in "\"'" else part for part in re.findall(_PART, dotted))
