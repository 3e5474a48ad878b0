"""The report of a specimen as FHIR R4: a Bundle with one DiagnosticReport and its Observations.

LOINC 26446-5 is "Blasts/100 leukocytes in Blood" and 34922-5 "Lymphoblasts/100 leukocytes in Blood"
(https://loinc.org/26446-5, https://loinc.org/34922-5); units are UCUM's. https://hl7.org/fhir/R4/
"""

import uuid
from datetime import datetime
from typing import Any

from edge.host.text import harmless
from edge.notice import NOTICE
from edge.specimen.counting import SHIPPED, columns, positive_name
from edge.specimen.summary import Summary

LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
BLASTS = {"system": LOINC, "code": "26446-5", "display": "Blasts/100 leukocytes in Blood"}
LYMPHOBLASTS = {"system": LOINC, "code": "34922-5", "display": "Lymphoblasts/100 leukocytes in Blood"}
_CATEGORY = [
    {
        "coding": [
            {
                "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                "code": "laboratory",
                "display": "Laboratory",
            }
        ]
    }
]
_NAMES = {
    "ALL": "cells called ALL (blast)",
    "HEM": "cells called HEM (healthy lymphoid)",
    "refer": "cells that a person has to look at",
    "other": "cells that are not lymphoid",
}
_NAMESPACE = uuid.UUID("6f4d4f0e-5f0e-5c8a-9f5e-1c0a6b0a7e11")


def bundle(summary: Summary, now: datetime) -> dict[str, Any]:
    """The Bundle, as JSON values.

    The status is "preliminary": a person signs a report, not this program. The same specimen at the same state
    gives the same ids.

    Args:
        summary: of one specimen.
        now: with its time zone.
    """
    state = f"{summary.specimen}/{summary.last}/{sorted(summary.counts.items())}"
    observations = [_blasts(summary), *(_count(summary, name) for name in columns(summary.classes))]
    for index, observation in enumerate(observations):
        observation["id"] = str(uuid.uuid5(_NAMESPACE, f"{state}/{index}"))
    report = {
        "resourceType": "DiagnosticReport",
        "id": str(uuid.uuid5(_NAMESPACE, state)),
        "status": "preliminary",
        "category": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/v2-0074",
                        "code": "HM",
                        "display": "Hematology",
                    }
                ]
            }
        ],
        "code": _code(summary, LYMPHOBLASTS, BLASTS),
        "specimen": [_specimen(summary)],
        "issued": now.isoformat(timespec="seconds"),
        **_period(summary),
        "result": [{"reference": f"urn:uuid:{observation['id']}"} for observation in observations],
        "conclusion": _conclusion(summary),
    }
    resources = [report, *observations]
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": now.isoformat(timespec="seconds"),
        "entry": [{"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource} for resource in resources],
    }


def _blasts(summary: Summary) -> dict[str, Any]:
    found = summary.found
    observation = _observation(summary, _code(summary, BLASTS, LYMPHOBLASTS))
    if found.percent is None or found.interval_percent is None:
        return observation | {"dataAbsentReason": {"text": "no white cell has a verdict"}}
    observation["valueQuantity"] = _percent(found.percent)
    low, high = found.interval_percent
    components = [
        ("lower 95 % limit (Clopper-Pearson)", low),
        ("upper 95 % limit (Clopper-Pearson)", high),
        ("corrected for the model's sensitivity and specificity (Rogan-Gladen)", found.adjusted_percent),
    ]
    observation["component"] = [
        {"code": {"text": text}, "valueQuantity": _percent(value)}
        for text, value in components
        if value is not None
    ]
    observation["component"].append(
        {"code": {"text": "white cells counted"}, "valueInteger": found.white_cells}
    )
    return observation


def _count(summary: Summary, name: str) -> dict[str, Any]:
    text = _NAMES.get(name, f"cells called {harmless(name)}")
    return _observation(summary, {"text": text}) | {"valueInteger": summary.counts[name]}


def _code(summary: Summary, *loinc: dict[str, str]) -> dict[str, Any]:
    """What was counted; only blasts have these LOINC codes, not the classes of every model."""
    if summary.classes == [SHIPPED]:
        return {"coding": list(loinc), "text": "Blasts per 100 white cells, counted by Leukoscope"}
    return {
        "text": f"Cells called {positive_name(summary.classes)} per 100 white cells, counted by Leukoscope"
    }


def _observation(summary: Summary, code: dict[str, Any]) -> dict[str, Any]:
    devices = ", ".join(harmless(device) for device in summary.devices)
    models = "; ".join(f"{harmless(name)} sha256 {harmless(sha256)}" for name, sha256 in summary.models)
    return {
        "resourceType": "Observation",
        "status": "preliminary",
        "category": _CATEGORY,
        "code": code,
        "specimen": _specimen(summary),
        **_period(summary),
        "device": {"display": devices or "unknown box"},
        "method": {"text": f"neural network on microscope pictures: {models or 'none'}"},
        "note": [{"text": _conclusion(summary)}],
    }


def _specimen(summary: Summary) -> dict[str, Any]:
    return {"display": harmless(summary.specimen) or "without a name"}


def _period(summary: Summary) -> dict[str, Any]:
    if not summary.first:
        return {}
    return {"effectivePeriod": {"start": summary.first, "end": summary.last}}


def _percent(value: float) -> dict[str, Any]:
    return {"value": round(value, 2), "unit": "%", "system": UCUM, "code": "%"}


def _conclusion(summary: Summary) -> str:
    checked = "" if summary.checked_here else " The model has not been checked in this laboratory."
    simulated = " Drawn cells of the simulator are among the results." if summary.simulated else ""
    return f"{NOTICE[0].upper()}{NOTICE[1:]}.{checked}{simulated}"
