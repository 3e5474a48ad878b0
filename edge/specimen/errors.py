"""The error rates of a model, as its file tells them."""

from typing import Any, NamedTuple


class ModelErrors(NamedTuple):
    """Sensitivity and specificity of a model on patients that did not train it, 0 to 1."""

    sensitivity: float
    specificity: float


def errors_in(calibration: dict[str, Any], adaptation: dict[str, Any] | None = None) -> ModelErrors | None:
    """The errors as a model file's manifest tells them; None if it does not.

    Args:
        calibration: of the manifest.
        adaptation: of the manifest; where there is one, its errors on held-back cells of this laboratory count.
    """
    band = (calibration.get("with_band") if adaptation is None else adaptation.get("after")) or {}
    sensitivity, specificity = band.get("sensitivity"), band.get("specificity")
    if not isinstance(sensitivity, float) or not isinstance(specificity, float):
        return None
    return ModelErrors(sensitivity, specificity)
