"""Text from outside (names, payloads, messages of another program) made safe for a terminal, a log line, a table or a
spreadsheet: without anything that they would interpret."""

import json
import unicodedata

CUT = "…"
LIMIT = 200
"""Characters of one value on one line; what is longer is cut and ends in …"""

# Cc: control characters, ESC and C1 included; Cf: bidirectional overrides and invisible signs; Cs: lone
# surrogates; Zl, Zp: line and paragraph separators.
_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def harmless(text: object, limit: int = LIMIT) -> str:
    """One line of printable text; what a terminal would interpret is shown as an escape such as \\x1b or \\u202e.

    Args:
        text: anything; `str` is taken of it.
        limit: characters at most, 1 or more.
    """
    given = str(text)
    cut = given[:limit]
    if not cut.isascii() or not cut.isprintable():
        cut = "".join(_escaped(sign) if unicodedata.category(sign) in _OBEYED else sign for sign in cut)
    if len(given) > limit or len(cut) > limit:
        cut = cut[: limit - 1] + CUT
    return cut


def shortened(path: str, columns: int) -> str:
    """A path or address in so many characters: its end, which tells files apart, after "…"; from a folder on if one fits.

    Args:
        columns: 2 or more.
    """
    if len(path) <= columns:
        return path
    end = path[1 - columns :]
    folder = end.find("/")
    return CUT + (end[folder:] if 0 <= folder < len(end) - 1 else end)


def safe_json(encoded: bytes) -> str:
    """JSON as text with what a terminal would interpret as \\u escapes: the same document.

    An encoder escapes the control characters below U+0020 by itself, and leaves those above, such as U+009B.
    """
    text = encoded.decode()
    if text.isascii():
        return text
    # In JSON such a character stands only within a string.
    return "".join(
        json.dumps(sign)[1:-1] if sign > "\x7e" and unicodedata.category(sign) in _OBEYED else sign
        for sign in text
    )


def spreadsheet_cell(value: object) -> object:
    """A value for a CSV file that a spreadsheet will not take for a formula: text that begins like one gets a '
    before it.

    Numbers and None stay as they are.
    """
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value


def _escaped(sign: str) -> str:
    code = ord(sign)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
