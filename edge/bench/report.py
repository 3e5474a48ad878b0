"""Tables and a plot of `leukoscope bench`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.bench.machine import busy
from edge.errors import LeukoscopeError

Results = dict[str, Any]

_COLUMNS = ("min", "p50", "p95", "p99", "max")
MEANINGS = (
    "total: from a picture in memory to its verdict; bare invoke: the same network without this program",
    "capture, record, accept, durable: taking a frame, making its record, handing it to the outbox, and until it is safe on "
    "the disk; p50: half of all runs are faster, p95, p99: 95 and 99 of 100",
)
"""What a reader who sees the table for the first time asks."""

_PLOTTED = ("preprocess", "invoke", "record", "accept", "capture")


def format_table(results: Results) -> str:
    """One model, stage by stage."""
    rows = [
        *results["stages_ms"].items(),
        ("total - invoke", results["overhead_ms"]),
        ("bare invoke", results["bare_invoke_ms"]),
    ]
    lines = [
        f"{results['model']} ({results['model_sha256'][:12]}) on {results['machine']}",
        f"{results['runs']} runs, threads: {results['threads']}; milliseconds per image",
        *busy(results),
        f"{'':<15}" + "".join(f"{column:>10}" for column in _COLUMNS),
    ]
    for name, times in rows:
        lines.append(f"{name:<15}" + "".join(f"{times[column]:>10.3f}" for column in _COLUMNS))
    network = results["network"]
    lines.append(
        f"total / bare invoke: {results['overhead_ratio']:.3f} at p50, {results['overhead_ratio_min']:.3f} at the "
        f"fastest; {network['multiply_adds'] / 1e6:.1f} million multiply-adds, {network['gmac_per_s']:.1f} "
        f"billion per second"
    )
    if "sustained" in results:
        lines.append(_sustained(results["sustained"]))
    lines += MEANINGS
    lines.append(f"peak memory: {results['peak_rss_mb']:.0f} MB; {_conditions(results)}")
    return "\n".join(lines)


def format_family(all_results: Sequence[Results]) -> str:
    """Several models or numbers of threads, one line each."""
    width = max(len(results["model"]) for results in all_results)
    head = (
        "threads",
        "bare min",
        "bare p50",
        "total min",
        "total p50",
        "p99",
        "ratio min",
        "ratio p50",
        "GMAC/s",
        "sha256",
    )
    lines = [
        f"on {all_results[0]['machine']}; milliseconds per image",
        *busy(*all_results),
        f"{'':<{width}}" + "".join(f"{name:>11}" for name in head),
    ]
    for results in all_results:
        total, bare = results["stages_ms"]["total"], results["bare_invoke_ms"]
        times = (
            bare["min"],
            bare["p50"],
            total["min"],
            total["p50"],
            total["p99"],
            results["overhead_ratio_min"],
            results["overhead_ratio"],
        )
        lines.append(
            f"{results['model']:<{width}}{results['threads']:>11}"
            + "".join(f"{figure:>11.3f}" for figure in times)
            + f"{results['network']['gmac_per_s']:>11.1f}  {results['model_sha256'][:8]}"
        )
    lines += [
        f"{results['model']}, threads {results['threads']}: {_sustained(results['sustained'])}"
        for results in all_results
        if "sustained" in results
    ]
    return "\n".join([*lines, _conditions(all_results[-1])])


def format_delivery(results: Results) -> str:
    """Delivery, for people."""
    lines = [
        f"{results['broker']}; from the camera's stamp, milliseconds",
        f"{'':<15}" + "".join(f"{column:>10}" for column in _COLUMNS),
    ]
    for key, name in (
        ("frame_to_durable_ms", "to the disk"),
        ("frame_to_puback_ms", "to PUBACK"),
        ("bare_invoke_ms", "bare invoke"),
    ):
        lines.append(f"{name:<15}" + "".join(f"{results[key][column]:>10.3f}" for column in _COLUMNS))
    rates = results["throughput"]
    lines.append(
        f"throughput: {rates['per_s']:.1f} records per second acknowledged, {rates['ratio']:.1%} of the bare "
        f"interpreter's {rates['bare_per_s']:.1f}"
    )
    return "\n".join(lines)


def plot(all_results: Sequence[Results], file: Path) -> None:
    """Bars of the stages at p50 for each result, the bare interpreter beside them; a PNG.

    Raises:
        LeukoscopeError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise LeukoscopeError(
            "--plot needs matplotlib, which is not installed: pip install 'leukoscope[bench]'"
        ) from error
    figure = Figure(figsize=(9, 1.6 + 0.7 * len(all_results)), layout="constrained")
    axes = figure.subplots()
    names = [f"{results['model']}, {results['threads']} thr." for results in all_results]
    for row, results in enumerate(all_results):
        left = 0.0
        for colour, stage in enumerate(_PLOTTED):
            width = results["stages_ms"][stage]["p50"]
            label = stage if row == 0 else None
            axes.barh(row - 0.18, width, 0.34, left=left, color=f"C{colour}", label=label)
            left += width
        bare, total = results["bare_invoke_ms"], results["stages_ms"]["total"]
        label = "bare interpreter" if row == 0 else None
        axes.barh(row + 0.18, bare["p50"], 0.34, color="0.6", label=label)
        axes.text(left, row - 0.18, f"  p99 {total['p99']:.2f}", va="center", fontsize=8)
        axes.text(bare["p50"], row + 0.18, f"  p99 {bare['p99']:.2f}", va="center", fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds per image, p50 of each stage")
    axes.margins(x=0.15)
    axes.set_title(f"{all_results[0]['machine']}; {all_results[0]['runs']} runs", fontsize=9)
    axes.legend(
        fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.8 / len(all_results)), frameon=False
    )
    try:
        figure.savefig(file, dpi=120, format="png")
    except OSError as error:
        raise LeukoscopeError(f"--plot {file}: {error.strerror}; give a file that can be written") from error


def _sustained(sustained: Results) -> str:
    return (
        f"{sustained['seconds']:g} s without a pause: {sustained['images_per_s']:.1f} images per second, "
        f"{sustained['throughput_ratio']:.1%} of the bare interpreter's {sustained['bare_per_s']:.1f}; p50 of the "
        f"first tenth {sustained['p50_first_ms']:.3f} ms, of the last {sustained['p50_last_ms']:.3f} ms"
    )


def _conditions(results: Results) -> str:
    before, after = results["conditions"]["before"], results["conditions"]["after"]
    parts = [f"load {before['load_1min']:.1f} to {after['load_1min']:.1f} on {after['cores']} cores"]
    missing = []
    for key, name, unit in (
        ("temperature_c", "temperature", " °C"),
        ("clock_mhz", "clock", " MHz"),
        ("governor", "governor", ""),
        ("throttling", "throttling", ""),
    ):
        first, last = (_words(moment[key]) for moment in (before, after))
        if last is None:
            missing.append(name)
        else:
            parts.append(f"{name} {first} to {last}{unit}" if first != last else f"{name} {last}{unit}")
    if missing:
        parts.append(f"not reported by this machine: {', '.join(missing)}")
    return "; ".join(parts)


def _words(value: Any) -> Any:
    """Throttling in words; everything else unchanged."""
    if isinstance(value, dict):
        now, ever = ", ".join(value["now"]), ", ".join(value["since_boot"])
        return f"{now or 'none'} ({ever} since power-on)" if ever else now or "none"
    return value
