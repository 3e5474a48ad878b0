"""A few kills at random instants; `make soak` runs 200 of them."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from kills import kill


@pytest.mark.timeout(420)
@pytest.mark.skipif(
    not (shutil.which("mosquitto_sub") and shutil.which("stdbuf")),
    reason="mosquitto_sub is missing: apt install mosquitto-clients",
)
def test_daemon_broker_and_logger_are_killed_at_random_and_every_accepted_result_is_stored_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, wrong = kill(tmp_path, seed=2, kills=9)
    printed = capsys.readouterr().out
    with capsys.disabled():
        print(f"\n{printed}")
    assert wrong == []
    assert set(run.faults) == set(run.kinds()) and run.last >= 40
    with sqlite3.connect(run.database) as database:  # and the check can fail
        database.execute("DELETE FROM cells WHERE sequence = 7")
        database.execute("UPDATE cells SET verdict = 'other' WHERE sequence = 8")
    lines = run.seen.read_text().splitlines()
    run.seen.write_text(
        "\n".join(
            line for line in lines if "{" not in line or json.loads(line[line.index("{") :])["sequence"] != 9
        )
    )
    missing, lost, unseen, other = run.verdict(run.last)
    assert "[7]" in missing and "[7]" in lost and "[9]" in unseen and "1 rows are not" in other
