"""What a command over MQTT may ask for, and the answer to it: each has its schema, and nothing else is taken."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from edge.errors import InputError
from edge.notice import NOTICE
from edge.records import Specimen

# A command has some words; more is a mistake or an attack.
LONGEST_BYTES = 16 * 1024


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every command may hold; MQTT 5 has properties for both, which go before these.

    Attributes:
        response_topic: of the answer; without one there is no answer.
        correlation: comes back with the answer.
    """

    response_topic: str = ""
    correlation: Annotated[str, Meta(max_length=1000)] = ""


class CaptureRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`capture`: one result of a frame that is taken now; the answer holds its record.

    Attributes:
        specimen: of this result; null for the one that is set.
    """

    specimen: Specimen | None = None


class SpecimenRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`specimen`: names the slide or sample of all results from now on.

    Attributes:
        specimen: its name; "" for none.
    """

    specimen: Specimen


class SpecimenStartRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`specimen_start`: begins the count of a specimen; the answer holds the message of the topic `specimen`.

    Attributes:
        specimen: its name; not empty.
        target: white cells to count; null for the setting [specimen] target.
    """

    specimen: Annotated[Specimen, Meta(min_length=1)]
    target: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


class SpecimenStopRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`specimen_stop`: ends the count; the answer holds the message of the topic `specimen`."""


class ViewRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`view`: for a while the box publishes small pictures of what the camera shows; ask again before it ends.

    Attributes:
        seconds: how long.
        per_second: pictures a second.
    """

    seconds: Annotated[float, Meta(gt=0, le=60)] = 20.0
    per_second: Annotated[float, Meta(gt=0, le=5)] = 4.0


class ModelInstallRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`model_install`: check a model file, try it on the box's newest pictures, and run it from now on; the answer tells
    which verdicts change. Give either `file` or `address`.

    Attributes:
        file: its path on the box, such as on a USB stick; "" for none.
        address: http:// or https://, where the setting [model] fetch allows it; "" for none.
        sha256: of the file, so that exactly this one is meant.
    """

    file: Annotated[str, Meta(max_length=4096, pattern=r"^[^\x00]*$")] = ""
    address: Annotated[str, Meta(max_length=4096, pattern=r"^[^\x00]*$")] = ""
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class ModelBackRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`model_back`: run the model that ran before; the answer names it."""


class HealthRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`health`: the answer holds the health message of this moment."""


REQUESTS: dict[str, type[Request]] = {
    "capture": CaptureRequest,
    "specimen": SpecimenRequest,
    "specimen_start": SpecimenStartRequest,
    "specimen_stop": SpecimenStopRequest,
    "view": ViewRequest,
    "model_install": ModelInstallRequest,
    "model_back": ModelBackRequest,
    "health": HealthRequest,
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What comes back.

    Attributes:
        command: its name.
        ok: whether it was done.
        result: of the command, such as a record.
        error: why it was not done, or "".
        correlation: as it came.
        notice: that it is no diagnosis.
    """

    command: str
    ok: bool
    result: Any = None
    error: str = ""
    correlation: str = ""
    notice: str = NOTICE


class _Reply(msgspec.Struct):
    """Where a command's payload wants its answer, whatever else is in it."""

    response_topic: str = ""
    correlation: Annotated[str, Meta(max_length=1000)] = ""


def reply_in(payload: bytes) -> tuple[str, str]:
    """Response topic and correlation of a payload, as MQTT 3.1.1 needs them; "" where there are none."""
    try:
        reply = msgspec.json.decode(payload or b"{}", type=_Reply)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return "", ""
    return reply.response_topic, reply.correlation


def decode(name: str, payload: bytes) -> Request:
    """What a command asks for.

    Args:
        name: of the command.
        payload: JSON; b"" for a request without fields.

    Raises:
        InputError: there is no such command, or the payload is too long or does not fit its schema.
    """
    if name not in REQUESTS:
        raise InputError(f"no such command; there are {', '.join(sorted(REQUESTS))}")
    if len(payload) > LONGEST_BYTES:
        raise InputError(f"{len(payload)} bytes: longer than {LONGEST_BYTES}")
    try:
        return msgspec.json.decode(payload or b"{}", type=REQUESTS[name])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InputError(f"it does not fit the schema: {error}") from error
