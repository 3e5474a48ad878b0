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


class RivalRow(NamedTuple):
    """What is printed of a rival: in per cent, accuracy on the three folds, or one F1.

    Attributes:
        network: as `train --network` names it.
        accuracy: of fold 0, 1 and 2; () where none is printed.
        f1: weighted or of ALL is not said; None if none is printed.
        where: the table or figure.
    """

    network: str
    accuracy: tuple[float, ...]
    f1: float | None
    where: str


RIVALS = (
    RivalRow("mobilenet_m", (96.0, 96.0, 94.0), None, "Table 10"),
    RivalRow("alnett", (92.2, 94.0, 87.2), None, "Table 10; its own article: accuracy 91.13, F1 0.96"),
    RivalRow("mma_mtl", (), 91.0, "Table 11"),
    RivalRow("yolov4", (), 92.0, "Table 11"),
    RivalRow("resnet50", (), None, "Figure 9, bars without numbers"),
    RivalRow("alexnet", (), None, "Figure 9, bars without numbers"),
    RivalRow("vgg16", (), None, "Figure 9, bars without numbers"),
    RivalRow("googlenet", (), None, "Figure 9, bars without numbers"),
)
"""The paper's comparison with others' networks, all on splits by image or on test sets of their own."""

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
