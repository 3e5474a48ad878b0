"""Which cells several runs can be judged on together: none of them has trained or chosen any run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from edge.errors import InputError
from train.data.dataset import Cell, DataSet, subject_group
from train.data.split import evenly
from train.evaluate.evaluation import patients_of
from train.fit.run import Run


@dataclass(frozen=True)
class SharedCells:
    """The cells that all runs are judged on.

    Attributes:
        test: in the test list of every run, trained or chosen by none.
        same_patients: whether patients of the test cells trained a run, as in a split by image.
        new_patients: of patients that trained and chose no run; empty if that is not known.
        notes: what the reader must know of them.
    """

    test: list[Cell]
    same_patients: bool
    new_patients: list[Cell]
    notes: tuple[str, ...] = ()


def shared_cells(runs: Sequence[Run], data: DataSet, limit: int | None = None) -> SharedCells:
    """The cells of a data set that all runs can be judged on.

    The data set may lie below another folder than the one that a run was trained on.

    Args:
        limit: at most this many of either set, evenly spread, for a quick trial.

    Raises:
        InputError: there is no cell that every run left for its test.
    """
    places = _Places(data.cells)
    tests, seen = [], set[str]()
    for run in runs:
        split = run.split()
        tests.append({cell.path for cell in places.of(split.test)})
        seen |= {cell.path for cell in places.of([*split.train, *split.val])}
    both = set.intersection(*tests) - seen
    if not both:
        raise InputError(
            f"{data.root}: no cell is in the test list of every run; train the runs with the same --fold and --split, "
            "and give the data set that they were trained on"
        )
    known = [patients_of(run) for run in runs]
    notes = []
    if len({len(each) for each in tests}) > 1 or len(both) < len(tests[0]):
        notes.append(
            f"the runs have different splits; only the {len(both)} test cells of all of them are judged"
        )
    new: list[Cell] = []
    if any(each is None for each in known):
        notes.append("the data of a run are not there any more, so it is not known which patients are new")
    else:
        trained = frozenset[str]().union(*(each for each in known if each is not None))
        new = [
            cell
            for cell in data.cells
            if subject_group(cell.subject) not in trained and cell.path not in both
        ]
    if limit:
        notes.append(f"--limit {limit}: only that many cells of each set were judged, for a quick trial")
    test = [cell for cell in data.cells if cell.path in both]
    patients = {subject_group(cell.subject) for cell in test}
    same = any(each is None or patients & each for each in known)
    test, new = ([cells[i] for i in evenly(len(cells), limit)] for cells in (test, new))
    return SharedCells(test, same, new, tuple(notes))


class _Places:
    """Cells by the paths that a split has for them, from whatever folder it counts."""

    def __init__(self, cells: Sequence[Cell]):
        self._by_name: dict[str, list[Cell]] = {}
        for cell in cells:
            self._by_name.setdefault(PurePosixPath(cell.path).name, []).append(cell)

    def of(self, paths: Sequence[str]) -> list[Cell]:
        """Those of the paths that are here."""
        found = []
        for path in paths:
            for cell in self._by_name.get(PurePosixPath(path).name, ()):
                if f"/{cell.path}".endswith(f"/{path}") or f"/{path}".endswith(f"/{cell.path}"):
                    found.append(cell)
        return found
