"""The paper's results, for comparison with our own metrics."""

from typing import NamedTuple

SOURCE = "the MobileNet_M paper, C-NMC 2019, test side of each fold split by image"
MEANS_NOTE = (
    "No confusion matrix of fold 1's test side has the paper's precision, recall, F1 and accuracy with ALL as the "
    "positive class. As means over both classes each of its rows fits one, and the paper's AUC is then the mean of "
    "both recalls: it is computed from hard labels. So the means over both classes are compared here; the AUC of "
    "the scores, which uses the probabilities and is usually higher, stands beside it."
)


class PaperRow(NamedTuple):
    """The paper's figures of one fold at one noise level; precision, recall and F1 are means over both classes."""

    precision: float
    recall: float
    f1: float
    accuracy: float
    auc: float


# Fold → sigma of the test noise in 8-bit levels → figures.
RESULTS: dict[int, dict[float, PaperRow]] = {
    0: {
        0.0: PaperRow(0.96, 0.95, 0.96, 0.96, 0.954),
        2.0: PaperRow(0.95, 0.95, 0.95, 0.96, 0.952),
        5.0: PaperRow(0.94, 0.95, 0.95, 0.95, 0.950),
        8.0: PaperRow(0.96, 0.94, 0.95, 0.96, 0.941),
        10.0: PaperRow(0.96, 0.92, 0.94, 0.95, 0.924),
    },
    1: {
        0.0: PaperRow(0.95, 0.95, 0.95, 0.96, 0.948),
        2.0: PaperRow(0.97, 0.96, 0.96, 0.97, 0.955),
        5.0: PaperRow(0.95, 0.94, 0.95, 0.95, 0.940),
        8.0: PaperRow(0.96, 0.94, 0.94, 0.95, 0.936),
        10.0: PaperRow(0.96, 0.93, 0.94, 0.95, 0.928),
    },
    2: {
        0.0: PaperRow(0.93, 0.94, 0.94, 0.94, 0.941),
        2.0: PaperRow(0.95, 0.95, 0.95, 0.96, 0.948),
        5.0: PaperRow(0.92, 0.93, 0.93, 0.94, 0.929),
        8.0: PaperRow(0.94, 0.93, 0.93, 0.94, 0.928),
        10.0: PaperRow(0.94, 0.92, 0.93, 0.94, 0.924),
    },
}
