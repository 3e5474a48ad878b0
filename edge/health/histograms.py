"""Histograms of durations, as Prometheus has them."""

import bisect
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.metrics_core import HistogramMetricFamily

# Upper bounds in milliseconds: from a network of 0.25/128 on a Pi 5 to a stage that is stuck.
BUCKETS_MS = (1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0)


class Histogram:
    """Counts durations in milliseconds. One thread observes, others may read."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_MS) + 1)  # the last is what is above all bounds
        self.sum_ms = 0.0

    def observe(self, duration_ms: float) -> None:
        """Count one duration."""
        self.counts[bisect.bisect_left(BUCKETS_MS, duration_ms)] += 1
        self.sum_ms += duration_ms


def histograms(name: str, text: str, by_stage: Mapping[str, Histogram]) -> "HistogramMetricFamily":
    """Histograms in seconds, as Prometheus has it, with the label "stage"."""
    from prometheus_client.metrics_core import HistogramMetricFamily

    family = HistogramMetricFamily(name, text, labels=["stage"])
    for stage, histogram in by_stage.items():
        total, buckets = 0, []
        for bound, count in zip((*BUCKETS_MS, None), list(histogram.counts)):
            total += count
            buckets.append(("+Inf" if bound is None else repr(bound / 1000), total))
        family.add_metric([stage], buckets, histogram.sum_ms / 1000)
    return family
