"""Each fault once; `make soak` runs the same for as long as one likes."""

import sqlite3

import pytest
from soak import soak


@pytest.mark.timeout(420)
def test_each_fault_once_and_every_accepted_result_is_stored_once_in_order(tmp_path, capsys):
    run, wrong = soak(tmp_path, seed=1, seconds=0, rounds=1)
    printed = capsys.readouterr().out
    with capsys.disabled():
        print(f"\n{printed}")
    assert wrong == []
    assert set(run.faults) == set(run.kinds()) and "results accepted" in printed
    assert len(run.rows()) >= 40
    with sqlite3.connect(run.database) as database:  # and the check can fail
        database.execute("DELETE FROM cells WHERE sequence = 7")
    (missing, lost) = run.verdict(run.last)
    assert "[7]" in missing and "[7]" in lost
