"""`leukoscope results`: totals as a table, or rows as CSV."""

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

from edge.errors import InputError, LeukoscopeError
from edge.host.secrets import shown_address
from edge.host.terminal import console
from edge.host.text import harmless, safe_json
from edge.logger.moments import local, span, zone
from edge.logger.queries import Results, Total
from edge.logger.stores.rows import CELL_COLUMNS, csv_line
from edge.notice import NOTICE
from edge.specimen.counting import (
    SHIPPED,
    Classes,
    classes_in,
    columns,
    positive_name,
    positive_probability,
)

_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])\Z", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_SPAN_S = 36_500 * 86_400
NARROWEST, NAME_WIDTH, WIDE = 7, 24, 100
_PROBABILITIES = CELL_COLUMNS.index("probabilities")


def span_s(text: str, option: str = "--last") -> float:
    """Seconds of "90s", "15m", "1h" or "7d".

    Raises:
        InputError: it is not of that form, or not above 0 and up to 36500 days.
    """
    match = _SPAN.match(text)
    if match is None:
        raise InputError(f"{option} {harmless(text, 40)}: a number and s, m, h or d, such as 1h")
    seconds = float(match.group(1)) * _SECONDS[match.group(2)]
    if not 0 < seconds <= LONGEST_SPAN_S:
        raise InputError(f"{option} {text}: it must be above 0 and at most {LONGEST_SPAN_S // 86_400}d")
    return seconds


def command(options: argparse.Namespace) -> int:
    """`leukoscope results`."""
    last_s = span_s(options.last) if options.last else 0
    for name in ("device", "specimen"):
        if "\0" in (getattr(options, name) or ""):
            raise InputError(f"--{name}: it holds a NUL character, which no database can hold")
    results = Results(options.database)
    conditions = {"device": options.device, "specimen": options.specimen, "last_s": last_s}
    try:
        if options.csv is not None:
            _write_csv(results, options.csv, conditions)
            return 0
        totals = results.totals(options.by, **conditions)
        if options.limit:
            totals = sorted(totals, key=lambda total: total.last)[-options.limit :]
    finally:
        results.close()
    if options.json:
        for total in totals:
            print(safe_json(msgspec.json.encode({options.by: total.key, **msgspec.structs.asdict(total)})))
        return 0
    if not totals:
        console.note(f"no results{_asked(options)} in {shown_address(options.database)}")
    elif not (console.is_terminal(sys.stdout) and _draw(totals, options.by)):
        _print(totals, options.by)
    console.note(NOTICE)
    return 0


def _asked(options: argparse.Namespace) -> str:
    """What was asked for, in words: " of specimen S1 of the last 1h"."""
    words = [
        f"{name} {harmless(value)}" for name in ("specimen", "device") if (value := getattr(options, name))
    ]
    words += [f"the last {options.last}"] if options.last else []
    return "".join(f" of {word}" for word in words)


def _draw(totals: list[Total], by: str) -> bool:
    """A table for a terminal; False if rich is missing."""
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    screen = Console()
    wide = screen.width >= WIDE  # without lines more columns fit
    table = Table(
        by,
        box=box.HEAVY_HEAD if wide else None,
        collapse_padding=not wide,
        pad_edge=wide,
        caption=f"Times are local: {zone()}",
    )
    heads, classes = _heads(totals), _classes(totals)
    for name in heads:
        table.add_column(Text(name), justify="right")
    table.add_column("first … last")
    for total in totals:
        cells = [harmless(total.key) or "–", *_cells(total, classes), span(total.first, total.last)]
        table.add_row(*(Text(cell) for cell in cells))
    screen.print(table)
    return True


def _print(totals: list[Total], by: str) -> None:
    heads, classes = _heads(totals), _classes(totals)
    widths = [max(NARROWEST, len(head)) for head in heads]
    print(f"{by:24} {_line(heads, widths)}  first … last, {zone()}")
    for total in totals:
        times = f"{local(total.first)} … {local(total.last)}"
        print(f"{harmless(total.key) or '–':24} {_line(_cells(total, classes), widths)}  {times}")


def _line(cells: list[str], widths: list[int]) -> str:
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _classes(totals: list[Total]) -> list[Classes]:
    """Of all models, each pair once."""
    return list(dict.fromkeys(pair for total in totals for pair in total.classes)) or [SHIPPED]


def _heads(totals: list[Total]) -> list[str]:
    classes = _classes(totals)
    names = [harmless(name, NAME_WIDTH) for name in columns(classes)]
    return ["results", *names, f"mean p({positive_name(classes)})"]


def _cells(total: Total, classes: list[Classes]) -> list[str]:
    """In the order of _heads."""
    mean = "–" if total.mean_probability is None else f"{total.mean_probability:.3f}"
    counts = [str(total.counts.get(name, 0)) for name in columns(classes)]
    return [str(total.results), *counts, mean]


def _write_csv(results: Results, file: str, conditions: Mapping[str, Any]) -> None:
    if file == "-":
        _write_rows(results, sys.stdout, conditions)
        return
    try:
        with Path(file).open("w", newline="", encoding="utf-8") as out:
            count = _write_rows(results, out, conditions)
    except OSError as error:
        raise LeukoscopeError(f"cannot write {file}: {error.strerror}") from error
    console.note(f"{count} results to {file}; {NOTICE}")


def _write_rows(results: Results, out: IO[str], conditions: Mapping[str, Any]) -> int:
    """All columns, and the probability of the positive class once more, for spreadsheets that cannot read JSON."""
    classes = results.classes(**conditions) or [SHIPPED]
    column = f"p_{classes[0].positive.lower()}" if len(classes) == 1 else "p_positive"
    out.write(csv_line([*CELL_COLUMNS, column]))
    count = 0
    for row in results.rows(**conditions):
        out.write(csv_line([*row, _p_positive(row[_PROBABILITIES])]))
        count += 1
    return count


def _p_positive(probabilities: str) -> float | None:
    try:
        found = msgspec.json.decode(probabilities, type=dict[str, float])
    except (msgspec.MsgspecError, ValueError):
        return None
    return positive_probability(found) if classes_in(found) else None
