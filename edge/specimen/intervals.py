"""How sure a count is: the exact binomial interval, and the share corrected for the classifier's own errors."""

import math
from collections.abc import Callable

LEVEL = 0.95
_STEPS = 60
"""Halvings of [0, 1]: finer than a double can tell."""


def clopper_pearson(count: int, total: int, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of a share (Clopper & Pearson 1934, Biometrika 26:404-413).

    Args:
        count: how many of the total, 0 to total.
        total: 1 or more.
        level: the coverage, between 0 and 1.

    Returns:
        The lower and the upper limit, 0 to 1.

    Raises:
        ValueError: count or total is out of range.
    """
    if total < 1 or not 0 <= count <= total:
        raise ValueError(f"{count} of {total} is no share")
    tail = (1 - level) / 2
    lower = 0.0 if count == 0 else _share_where(lambda share: _at_least(count, total, share) >= tail)
    upper = (
        1.0 if count == total else _share_where(lambda share: 1 - _at_least(count + 1, total, share) < tail)
    )
    return lower, upper


def rogan_gladen(share: float, sensitivity: float, specificity: float) -> float | None:
    """The share of positives that explains an observed one (Rogan & Gladen 1978, Am J Epidemiol 107:71-76).

    Args:
        share: observed share of positive verdicts, 0 to 1.
        sensitivity, specificity: of the classifier, 0 to 1.

    Returns:
        0 to 1; None if the classifier is no better than chance, so that nothing can be said.
    """
    skill = sensitivity + specificity - 1
    if skill <= 0:
        return None
    return min(1.0, max(0.0, (share + specificity - 1) / skill))


def _share_where(holds: Callable[[float], bool]) -> float:
    """The smallest share for which a test holds that holds for every larger one."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return (low + high) / 2


def _at_least(count: int, total: int, share: float) -> float:
    """The chance of `count` or more of `total`, each with the chance `share`, strictly between 0 and 1."""
    log_share, log_rest = math.log(share), math.log1p(-share)
    first = math.lgamma(total + 1)
    return min(
        1.0,
        math.fsum(
            math.exp(
                first
                - math.lgamma(i + 1)
                - math.lgamma(total - i + 1)
                + i * log_share
                + (total - i) * log_rest
            )
            for i in range(count, total + 1)
        ),
    )
