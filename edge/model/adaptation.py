"""A laboratory's own last layer: what it holds, and the probabilities that it gives. It is fitted in `edge.laboratory`."""

from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import InputError
from edge.imaging.colours import TONES
from edge.model.drift import Summary

SCHEMA = 2
"""1 had no tone: a version that knows 1 alone must not run a file whose layer was fitted to other tones."""

MEMBER = "adaptation.json"
"""Its name in the archive of a model file."""

_MOST_FEATURES = 8192
_Finite = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
_Exponent = Annotated[float, msgspec.Meta(ge=TONES[0], le=TONES[1])]


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """The model file that was adapted, so that it can be made again from the adapted one.

    Attributes:
        name: of the model.
        sha256: of the whole file.
        manifest: its `manifest.json`, as text.
        signature: its member `signature`, as text; "" if it was not signed.
    """

    name: str
    sha256: str
    manifest: str
    signature: str = ""


class Adaptation(msgspec.Struct, frozen=True, kw_only=True):
    """The member `adaptation.json`. Log-odds of the positive class: weights · features + base_weight · base + bias.

    Attributes:
        weights: one for each pooled feature, as `Classifier.features` gives them.
        base_weight: of the log-odds that the base gives.
        bias: what is added.
        refer_below: probability of the likelier class under which a cell is referred.
        base: what was adapted.
        made: of what, by whom, when and how, and what it gains; see `edge.laboratory.fit`.
        summary: of the features and colours of the reviewed cells, for the drift.
        tone: exponents of red, green and blue that give the laboratory's stain the strength of the training's, see
            `edge.imaging.colours`; empty for the picture as it is.
    """

    schema: Annotated[int, msgspec.Meta(ge=1)] = SCHEMA
    weights: Annotated[list[_Finite], msgspec.Meta(min_length=1, max_length=_MOST_FEATURES)]
    base_weight: _Finite
    bias: _Finite
    refer_below: Annotated[float, msgspec.Meta(ge=0, le=1)]
    base: Base
    made: dict[str, Any]
    summary: Summary | None = None
    tone: Annotated[list[_Exponent], msgspec.Meta(max_length=3)] = []

    def facts(self) -> dict[str, Any]:
        """What the manifest says of it: reviewed, specimens, before, after, at."""
        return {key: self.made.get(key) for key in ("reviewed", "specimens", "before", "after", "at")}


class Head:
    """The adaptation at work.

    Args:
        adaptation: see there.

    Raises:
        InputError: it is for another number of features.
    """

    def __init__(self, adaptation: Adaptation, features: int):
        if len(adaptation.weights) != features:
            raise InputError(
                f"{MEMBER} has {len(adaptation.weights)} weights, the network has {features} features; adapt this "
                "model anew"
            )
        self.weights = np.asarray(adaptation.weights, np.float32)
        self._base_weight, self._bias = adaptation.base_weight, adaptation.bias

    def evidence(
        self, features: npt.NDArray[np.float32], base: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """As `log_odds`, at each position: their mean is the log-odds.

        Args:
            features: (h, w, F) float32.
            base: (h, w) float32, each position's share of the base's log-odds, at its temperature.
        """
        return np.asarray(features @ self.weights + self._base_weight * base + self._bias, np.float32)

    def log_odds(self, features: npt.NDArray[np.float32], base: float) -> float:
        """Log-odds of the positive class.

        Args:
            features: (F,) float32, of `Classifier.features`.
            base: log-odds of the positive class by the base, at its temperature.
        """
        return float(self.weights @ features) + self._base_weight * base + self._bias


def decode(content: bytes) -> Adaptation:
    """Read the member of a model file.

    Raises:
        InputError: it is no adaptation, or one of another version.
    """
    try:
        read = msgspec.json.decode(content, type=Adaptation)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InputError(f"{MEMBER}: {error}") from error
    if read.schema > SCHEMA:
        raise InputError(f"{MEMBER}: schema {read.schema}, this version reads {SCHEMA}; update leukoscope")
    if read.tone and len(read.tone) != 3:
        raise InputError(f"{MEMBER}: tone has {len(read.tone)} exponents, not one for each of three channels")
    return read


def encode(adaptation: Adaptation) -> bytes:
    """The member; the same adaptation gives the same bytes."""
    return msgspec.json.format(msgspec.json.encode(adaptation), indent=1) + b"\n"
