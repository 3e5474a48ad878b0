"""What commands print as one JSON document."""

import json

import msgspec
import numpy as np
import pytest

from edge.host.terminal import console


class Found(msgspec.Struct):
    name: str
    rate: float | None


def test_a_document_is_one_line_of_json_that_cannot_steer_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.document([Found("é\x9b2J\x1b", 0.5), {"auc": np.float32(0.25), "cells": np.int64(3)}])
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1 and not {"\x9b", "\x1b"} & set(printed)
    assert json.loads(printed) == [{"name": "é\x9b2J\x1b", "rate": 0.5}, {"auc": 0.25, "cells": 3}]


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), np.float64("nan"), np.float32("inf")]
)
def test_what_json_has_no_number_for_is_null(value: float, capsys: pytest.CaptureFixture[str]) -> None:
    console.document(Found("a", value))
    assert json.loads(capsys.readouterr().out) == {"name": "a", "rate": None}


def test_what_is_no_json_is_a_fault_of_the_command() -> None:
    with pytest.raises(AttributeError):
        console.document({"file": object()})


@pytest.mark.parametrize("quiet", [False, True])
def test_figures_are_printed_with_quiet_too(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    console.set_quiet(quiet)
    try:
        console.figures(False, {"a": 1}, lambda: "a 1")
        console.figures(True, {"a": 1}, lambda: "a 1")
    finally:
        console.set_quiet(False)
    assert capsys.readouterr().out == 'a 1\n{"a":1}\n'
