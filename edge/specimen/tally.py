"""The tally of the specimen under the microscope: kept in the outbox, in the commit of each record that it counts.

It holds from which record on it counts, so that it can be made again from the records in a database.
"""

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from edge.records import ModelReference, Record
from edge.specimen.counting import SHIPPED, Classes, classes_in, column, columns, count, estimate
from edge.specimen.errors import ModelErrors

Change = Callable[[bytes, int], bytes]
"""As `edge.outbox.waiting.TallyChange`: the tally as JSON and a sequence; gives the tally after that."""


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of one specimen.

    Attributes:
        specimen: its name.
        state: "counting", or "done" once it was stopped.
        started_at: RFC 3339.
        target: white cells to count.
        counts: by column, see `counting.columns`.
        after: records with a higher sequence count.
        last: the sequence of the last record that was counted, or `after`.
        classes: of the models that counted.
    """

    specimen: str
    state: Literal["counting", "done"]
    started_at: str
    target: int
    counts: dict[str, int]
    after: int
    last: int
    classes: tuple[Classes, ...] = (SHIPPED,)


class SpecimenMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The specimen under the microscope and its count so far; retained. Research and second opinion only.

    Attributes:
        specimen: its name.
        state: "counting", or "done" once it was stopped.
        started_at: RFC 3339.
        target: white cells to count.
        counts: cells by what they count as.
        blasts_percent: the positive class (ALL) of both classes and other, in percent; None if there is none of them yet.
        interval_percent: its 95 % limits (Clopper-Pearson).
        adjusted_percent: corrected for the model's sensitivity and specificity (Rogan-Gladen); None if they are
            not known.
        checked_here: whether the model file was adapted to this laboratory with reviewed cells. The page and the
            report also look at the reviews in their database.
        model: the file that judges.
        classes: the two class names of each model that counted, the positive one first.
    """

    specimen: str
    state: Literal["counting", "done"]
    started_at: str
    target: int
    counts: dict[str, int]
    blasts_percent: float | None
    interval_percent: tuple[float, float] | None
    adjusted_percent: float | None
    checked_here: bool
    model: ModelReference
    classes: tuple[Classes, ...] = (SHIPPED,)


def read(state: bytes) -> Tally | None:
    """The tally, or None if there is none or the text is of another version."""
    try:
        return msgspec.json.decode(state, type=Tally)
    except msgspec.MsgspecError:
        return None


def start(specimen: str, target: int, now: str, classes: Classes = SHIPPED) -> Change:
    """Begin a count.

    Args:
        specimen: its name.
        target: white cells to count.
        now: RFC 3339.
        classes: of the model that judges.
    """

    def change(_state: bytes, sequence: int) -> bytes:
        begun = Tally(
            specimen=specimen,
            state="counting",
            started_at=now,
            target=target,
            counts=dict.fromkeys(columns([classes]), 0),
            after=sequence,
            last=sequence,
            classes=(classes,),
        )
        return msgspec.json.encode(begun)

    return change


def stop(state: bytes, _sequence: int) -> bytes:
    """End the count, if there is one; its numbers stay."""
    tally = read(state)
    return state if tally is None else msgspec.json.encode(msgspec.structs.replace(tally, state="done"))


def counted(record: Record) -> Change:
    """Count a record if its specimen is being counted; a specimen that is not counted stays as it is."""
    specimen, name, pair = record.specimen, column(record), classes_in(record.probabilities)

    def change(state: bytes, sequence: int) -> bytes:
        tally = read(state)
        if tally is None or tally.state != "counting" or tally.specimen != specimen:
            return state
        counts = tally.counts | {name: tally.counts.get(name, 0) + 1}
        classes = tally.classes if pair is None or pair in tally.classes else (*tally.classes, pair)
        return msgspec.json.encode(
            msgspec.structs.replace(tally, counts=counts, last=sequence, classes=classes)
        )

    return change


def remade(tally: Tally, records: Iterable[Record]) -> dict[str, int]:
    """The counts made again from records, such as those of a database.

    Args:
        tally: names the specimen, and from which record to which it counts.
        records: of the same box; others between them do not matter.
    """
    return count(
        (
            record
            for record in records
            if record.specimen == tally.specimen and tally.after < record.sequence <= tally.last
        ),
        tally.classes,
    )


def message(
    tally: Tally, model: ModelReference, errors: ModelErrors | None, checked_here: bool
) -> SpecimenMessage:
    """What the topic `specimen` says.

    Args:
        tally: of the specimen.
        model: the file that judges.
        errors: of that model, None if its card does not tell them.
        checked_here: see SpecimenMessage.
    """
    counts = {name: tally.counts.get(name, 0) for name in columns(tally.classes)}
    sensitivity, specificity = errors or (None, None)
    found = estimate(counts, sensitivity, specificity, tally.classes)
    return SpecimenMessage(
        specimen=tally.specimen,
        state=tally.state,
        started_at=tally.started_at,
        target=tally.target,
        counts=counts,
        blasts_percent=found.percent,
        interval_percent=found.interval_percent,
        adjusted_percent=found.adjusted_percent,
        checked_here=checked_here,
        model=model,
        classes=tally.classes,
    )
