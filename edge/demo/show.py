"""What the demo shows: JSON lines, plain lines, or one panel on a terminal; and the summary at its end."""

import contextlib
import shutil
import sys
import threading
from pathlib import Path
from types import TracebackType

import msgspec

from edge.host.terminal import console
from edge.host.text import harmless, safe_json
from edge.model.summary import REFER, Summary, label_of
from edge.notice import NOTICE
from edge.records import Record

SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "cells"
"""Real cells of a source checkout."""


class Show:
    """Counts results as they are stored, and prints a line for each. Any thread may report a result.

    Args:
        classes: of the model.
        place: what people are told at the start: the broker, the topic, where results go.
        quiet: only the summary.

    Attributes:
        draws: it draws over the terminal, so that nothing else may write there meanwhile.
        rows: results that were stored.
        summary: verdicts by folder.
    """

    draws = False

    def __init__(self, classes: list[str], place: str, quiet: bool = False):
        self._classes, self._place, self._quiet = classes, place, quiet
        self._lock = threading.Lock()
        self.summary = Summary(classes)
        self.rows = 0

    def __enter__(self) -> "Show":
        self.say(f"{NOTICE.upper()}\n{self._place}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held open."""

    def say(self, text: str) -> None:
        """A line for people."""
        if not self._quiet:
            print(text, flush=True)

    def stored(self, record: Record, new: bool) -> None:
        """One result was stored; `new` if it was not there yet."""
        if not new:
            return
        with self._lock:
            self.summary.add(Path(record.source), record.verdict)
            self.shown(record)
            self.rows += 1

    def shown(self, record: Record) -> None:
        """Show one result."""
        if not self._quiet:
            print(self.line(record), flush=True)

    def line(self, record: Record) -> str:
        """One result: verdict, probability of the first class, latency, source, right or wrong by its folder."""
        first = self._classes[0]
        label = label_of(Path(record.source), self._classes)
        mark = (
            ""
            if not label or record.verdict == REFER
            else "  right"
            if label == record.verdict
            else "  WRONG"
        )
        return (
            f"{harmless(record.verdict):5}  {harmless(first)} {record.probabilities.get(first, float('nan')):.3f}  "
            f"{sum(record.timings_ms.values()):5.1f} ms  {harmless(near(record.source))}{mark}"
        )

    def end(self, accepted: int, target: str) -> int:
        """The summary and what to do next; 1 if something that was accepted was not stored."""
        missing = accepted - self.rows
        stored = f"{self.rows} results stored, no duplicates" + (f", {missing} MISSING" if missing else "")
        for line in (f"{stored}: {self.summary.sentence()}", f"kept in {target}; {NOTICE}"):
            print("\n".join(console.folded(line)))
        if not self._quiet:
            print(_next_steps(target))
        sys.stdout.flush()
        return 0 if missing == 0 else 1


class JsonShow(Show):
    """Records as JSON lines, then a summary; everything for people goes to standard error."""

    def say(self, text: str) -> None:
        """See Show."""
        if not self._quiet:
            console.note(text)

    def shown(self, record: Record) -> None:
        """See Show."""
        print(safe_json(msgspec.json.encode(record)), flush=True)

    def end(self, accepted: int, target: str) -> int:
        """See Show."""
        verdicts = {name: self.summary.verdicts[name] for name in (*self._classes, REFER)}
        document = {
            "accepted": accepted,
            "stored": self.rows,
            "verdicts": verdicts,
            "right": self.summary.right,
            "wrong": self.summary.wrong,
            "to": target,
        }
        console.document(document)
        self.say(f"{accepted} results accepted, {self.rows} stored, no duplicates; {NOTICE}")
        return 0 if self.rows == accepted else 1


def near(source: str) -> str:
    """A path as it is written from the current folder, if it lies below it."""
    return source.removeprefix(f"{Path.cwd()}/")


def short(source: str, longest: int) -> str:
    """A path of at most so many characters; its end, which tells one cell from the next, is kept."""
    text = near(source)
    if len(text) <= longest:
        return text
    name = text.rpartition("/")[2]
    kept = text[-(longest - 2) :].partition("/")[2]
    return f"…/{kept}" if kept else f"…{name[-(longest - 1) :]}"


def _next_steps(target: str) -> str:
    command = own_command()
    samples = near(str(SAMPLES)) if SAMPLES.is_dir() else "FOLDER"
    steps = {
        f"{command} results {target}": "these results, by specimen",
        f"{command} classify {samples} --html sheet.html": "a page with every cell, to look at or mail",
        f"{command} demo": "once more until Ctrl-C, with time for its page",
        f"{command} doctor": "what a real box still needs (docs/start.md)",
    }
    return "\n".join(["next:", *(f"  {why}:\n    {step}" for step, why in steps.items())])


def own_command() -> str:
    """How this command is called from here: "leukoscope" if the shell finds it, else its path."""
    called = Path(sys.argv[0])
    if called.name != "leukoscope":
        return f"{Path(sys.executable).name} -m edge"
    found = shutil.which("leukoscope")
    if found and Path(found).resolve() == called.resolve():
        return "leukoscope"
    with contextlib.suppress(ValueError):
        return str(called.absolute().relative_to(Path.cwd()))
    return str(called)
