"""What the paper reports, to stand beside our own figures."""

from typing import NamedTuple

SOURCE = "the MobileNet_M paper, C-NMC 2019, test side of each fold split by image"
AUC_NOTE = (
    "The paper's AUC equals its balanced accuracy to three figures in many rows, so it seems to be computed "
    "from hard labels. It is compared here with our own AUC of hard labels; the AUC of the scores, which "
    "uses the probabilities and is usually higher, stands beside it."
)


class PaperRow(NamedTuple):
    """The paper's figures of one fold at one noise level, ALL being the positive class."""

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
