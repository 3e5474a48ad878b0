"""Another laboratory made of the samples: the same cells in other colours, as files or as a logger's database."""

import hashlib
import shutil
from pathlib import Path

import cv2
import numpy as np

from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from edge.logger import reviews
from edge.logger.queries import Results
from edge.logger.stores.sinks import open_sink
from edge.model.file import read_model
from edge.model.installed import default_model
from edge.records import ImageReference, ModelReference, Record, uuid7

ROOT = Path(__file__).resolve().parents[2]
CELLS = sorted((ROOT / "samples/cells").rglob("*.png"))


def recoloured(cell: Pixels) -> Pixels:
    """Dyes of other strengths: each channel's optical density by its own factor, which no lamp does; black stays black."""
    transmitted = np.maximum(cell, 1) / 255
    stained = 255 * transmitted ** np.array([0.70, 1.15, 1.45])
    return np.where(cell.max(axis=2, keepdims=True) > 0, stained, 0).astype(np.uint8)


def write_cells(folder: Path, keep: dict[str, int] | None = None, mixed: bool = False) -> None:
    """Folders all and hem; of each class as many as `keep` says; with `mixed` the labels are drawn at random."""
    rng = np.random.default_rng(3)
    for name in ("all", "hem"):
        (folder / name).mkdir(parents=True)
    counts = {"all": 0, "hem": 0}
    for number, file in enumerate(CELLS):
        label = file.parent.name
        if keep is not None and counts[label] >= keep[label]:
            continue
        counts[label] += 1
        drawn = rng.choice(["all", "hem"]) if mixed else label
        cv2.imwrite(str(folder / drawn / f"cell-{number}.png"), recoloured(read_image(file))[..., ::-1])
    if keep is not None:
        for name in ("all", "hem"):
            if not any((folder / name).iterdir()):
                shutil.rmtree(folder / name)


def write_database(folder: Path) -> tuple[str, list[Record]]:
    """A database with a record of each cell, of four specimens with both classes, and the archive beside it."""
    model = read_model(default_model())
    records = []
    for number, file in enumerate(
        sorted(CELLS, key=lambda path: hashlib.sha256(path.name.encode()).digest())
    ):
        cell_id = uuid7()
        name = f"2026-11-28/{cell_id}.png"
        picture = folder / "archive" / name
        picture.parent.mkdir(parents=True, exist_ok=True)
        cell = recoloured(read_image(file))
        side = model.manifest.geometry.crop
        top = (cell.shape[0] - side) // 2
        cv2.imwrite(str(picture), cell[top : top + side, top : top + side, ::-1])
        image = ImageReference(name=name, sha256=hashlib.sha256(picture.read_bytes()).hexdigest())
        records.append(
            Record(
                id=cell_id,
                device="box-1",
                sequence=number + 1,
                captured_at=f"2026-11-28T09:00:{number:02d}.000000Z",
                monotonic_ns=number,
                specimen=f"slide {number % 4}",
                source=f"/{file.parent.name}/{file.name}",
                verdict="HEM",
                probabilities={"ALL": 0.4, "HEM": 0.6},
                reasons=[],
                quality={},
                timings_ms={},
                model=ModelReference(name=model.manifest.name, sha256=model.sha256),
                settings_sha256="0" * 64,
                software="test",
                image=image,
            )
        )
    target = f"sqlite:///{folder / 'results.db'}"
    sink = open_sink(target)
    sink.store(records, [])
    sink.close()
    return target, records


def review(target: str, reviewer: str, labels: dict[str, str], hour: int = 11) -> None:
    """Store what a person says of some cells."""
    results = Results(target)
    for number, (cell, label) in enumerate(labels.items()):
        at = f"2026-11-28T{hour:02d}:{number // 60:02d}:{number % 60:02d}.000000Z"
        reviews.add(results, reviews.Review(cell=cell, label=label, reviewer=reviewer, at=at))
    results.close()
