"""`leukoscope report SPECIMEN`: one specimen as a page that prints, as FHIR, or its cells as CSV."""

import argparse
import json
import sys
from datetime import datetime

from edge.host.durable import replace_file
from edge.host.text import harmless
from edge.logger.queries import Results
from edge.notice import NOTICE
from edge.specimen import fhir, page, table
from edge.web.gather import summary_of


def command(options: argparse.Namespace) -> int:
    """`leukoscope report`."""
    results = Results(options.database)
    try:
        summary = summary_of(results, options.specimen, options.pictures, options.model)
    finally:
        results.close()
    now = datetime.now().astimezone()
    kind = options.format or {".json": "fhir", ".csv": "csv"}.get(options.out.suffix, "html")
    if kind == "csv":
        text = table.cells(summary)
    elif kind == "fhir":
        text = json.dumps(fhir.bundle(summary, now), indent=2, ensure_ascii=False) + "\n"
    else:
        text = page.render(summary, now)
    replace_file(options.out, text.encode())
    if options.json:
        print(json.dumps(page.facts(summary) | {"file": str(options.out)}))
    else:
        counts = ", ".join(f"{number} {name}" for name, number in summary.counts.items())
        print(f"{options.out}: specimen {harmless(summary.specimen)}, {counts}")
    print(NOTICE, file=sys.stderr)
    return 0
