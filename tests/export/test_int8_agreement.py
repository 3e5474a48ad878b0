"""How often int8 says the same as float: the shares of known verdicts. test_export.py has a real run."""

import numpy as np

from export.figures import agreement


def test_the_shares_of_known_verdicts() -> None:
    is_all = np.array([True, True, True, False])
    of_float = np.array([True, True, False, False])
    of_int8 = np.array([True, False, False, True])
    found = agreement.agreement(is_all, of_float, of_int8)
    assert found == {"agrees": 50.0, "accuracy_lost": 50.0}
    assert agreement.agreement(is_all, of_int8, of_float)["accuracy_lost"] == -50.0


def test_the_table_ends_with_the_lowest_the_mean_and_the_highest() -> None:
    found = {
        "clean": {"agrees": 100.0, "accuracy_lost": -1.0},
        "noise 10": {"agrees": 97.0, "accuracy_lost": 2.0},
    }
    assert agreement.table(found).splitlines()[1:] == [
        "clean                                100.00    -1.00",
        "noise 10                              97.00     2.00",
        "agrees: 97.00 to 100.00 %, mean 98.50 %",
        "accuracy lost: -1.00 to 2.00 points, mean 0.50",
    ]
