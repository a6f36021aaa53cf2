"""What `edgedet bench` prints: one row a file and device, and the lines that a reader needs to trust the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from edgedet.benchmarks.latency import Latency, NotRun
from edgedet.benchmarks.stats import ToolSummary

_STAGES = ("preprocess", "inference", "postprocess")
_HEAD = ("file", "load", "first", "p50", "±", "p90", "p99", "pre", "net", "post")
_WARM_UP = {
    "too few runs": "too few runs to find where warm-up ends",
    "not settled": "the times had not settled at the end",
}


def bench_table(results: Sequence[Latency | NotRun]) -> Table:
    """Load, first run, percentiles with the median's interval, and medians of the stages."""
    table = _table(
        "Latency, batch 1, milliseconds", "file", "load", "first", "p50", "±", "p90", "p99", *("pre", "net", "post")
    )
    for result in results:
        name = _label(result, results)
        if isinstance(result, NotRun):
            table.add_row(name, "[yellow]not run[/]")
        else:
            mark = ("" if result.is_device_latency else " †") + ("" if result.trusted else " ?")
            table.add_row(name + mark, *_cells(result))
    return table


def mode_tables(results: Sequence[Latency | NotRun]) -> list[Table]:
    """Tables of the modes that were asked for."""
    measured = [result for result in results if isinstance(result, Latency)]
    tables = []
    if any(result.sustained for result in measured):
        tables.append(_sustained_table(measured, results))
    if any(result.rate for result in measured):
        tables.append(_rate_table(measured, results))
    return tables


def remarks(results: Sequence[Latency | NotRun]) -> list[str]:
    """What ran each file or why none did, what disturbed it, and where."""
    lines = []
    for result in results:
        name = _label(result, results)
        lines += [f"{name}: not run: {result.reason}"] if isinstance(result, NotRun) else _file_lines(name, result)
    measured = [result for result in results if isinstance(result, Latency)]
    for latency in {result.device.name: result for result in measured}.values():
        lines += _device_lines(latency)
    if any(not result.trusted for result in measured):
        lines.append("? other things than the file took part in this number: measure again when they are gone.")
    return lines


def _file_lines(name: str, result: Latency) -> list[str]:
    steady = result.steady
    runs = len(steady.samples_ms) or getattr(steady, "runs", 0)
    ran = f"{result.runtime}, {result.provider}" if result.provider else result.runtime
    remark = "" if result.is_device_latency else " † not a device latency"
    left_out = result.warmup.runs
    warm = _WARM_UP.get(result.warmup.found, f"{left_out} runs of warm-up left out" if left_out else "no warm-up")
    lines = [f"{name}: {result.precision}, {result.file_bytes / 1e6:.2f} MB, {runs} runs, {warm}, {ran}{remark}"]
    if result.early_stopping:
        early = result.early_stopping
        p90 = "too few queries" if early.p90_ms is None else f"{early.p90_ms:.2f} ms"
        valid = "" if early.valid else ", NOT VALID: 1024 queries and 60 s are needed"
        lines.append(f"{name}: early-stopping p90 {p90} ({early.queries} queries, {early.seconds:.0f} s{valid})")
    if isinstance(steady, ToolSummary):
        said = ", ".join(f"{key} {_ms(value)}" for key, value in steady.aggregates_ms.items())
        lines.append(f"{name}: the tool keeps single runs to itself; it says {said}")
    lines += [f"{name}: {key}: {text}" for key, text in result.environment.notes.items()]
    lines += [f"{name}: ? {check.name}: {check.meaning}" for check in result.noise if check.exceeded]
    return lines


def _device_lines(latency: Latency) -> list[str]:
    environment, device, images = latency.environment, latency.device, latency.images
    threads = f"threads: {environment.threads}" if environment.threads else "threads: each runtime's own default"
    pinned = f", pinned to {environment.pinned_cores}" if environment.pinned_cores else ""
    return [
        f"{device.name}: {device.model}, {environment.usable_cores} cores, {threads}{pinned}, {device.os}",
        f"{len(images.sizes_wh_px)} {images.source} pictures; scores from {latency.score_min:g} on enter NMS",
    ]


def _cells(result: Latency) -> list[str]:
    steady = result.steady
    medians = {name: stage.p50_ms for name, stage in result.stages.items()}
    numbers = [result.load_ms, result.first_ms, steady.p50_ms]
    rest = [steady.p90_ms, steady.p99_ms, *(medians.get(name) for name in _STAGES)]
    return [*map(_ms, numbers), _half_width(result), *map(_ms, rest)]


def _half_width(result: Latency) -> str:
    """Half of the interval of the median, in per cent of it."""
    steady = result.steady
    if steady.p50_ms is None or "p50" not in steady.intervals_ms:
        return "-"
    low, high = steady.intervals_ms["p50"]
    return f"{50 * (high - low) / steady.p50_ms:.1f}%"


def _sustained_table(measured: Sequence[Latency], results: Sequence[Latency | NotRun]) -> Table:
    table = _table("Minute by minute, milliseconds", "file", "minute", "runs", "p50", "p90", "to burst")
    for result in measured:
        if result.sustained is None:
            continue
        for minute in result.sustained.minutes:
            number, ratio = round(minute.start_s / 60) + 1, minute.p50_ms / result.sustained.burst_ms
            figures = (f"{minute.p50_ms:.2f}", f"{minute.p90_ms:.2f}", f"{ratio:.2f} x")
            table.add_row(_label(result, results), str(number), str(minute.runs), *figures)
        onset = result.sustained.throttle_onset_s
        said = "no throttling" if onset is None else f"slower from {onset:.0f} s on"
        table.add_row("", "", "", "", said, f"{result.sustained.ratio:.2f} x", end_section=True)
    return table


def _rate_table(measured: Sequence[Latency], results: Sequence[Latency | NotRun]) -> Table:
    table = _table("At a camera's rate", "file", "asked", "reached", "pictures", "dropped", "late", "age p50", "p90 ms")
    for result in measured:
        if result.rate:
            r = result.rate
            counts = (str(r.offered), str(r.dropped), str(r.late))
            rates = (f"{r.fps:g}/s", f"{r.fps_reached:.1f}/s")
            table.add_row(_label(result, results), *rates, *counts, f"{r.age_p50_ms:.1f}", f"{r.age_p90_ms:.1f}")
    return table


def _table(title: str, *head: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))
    for k, name in enumerate(head):
        table.add_column(name, justify="right" if k else "left", no_wrap=bool(k), overflow="fold")
    return table


def _label(result: Latency | NotRun, results: Sequence[Latency | NotRun]) -> str:
    """Name of the file, and of the device where there are several."""
    device = result.device if isinstance(result, NotRun) else result.device.name
    others = {r.device if isinstance(r, NotRun) else r.device.name for r in results} - {device}
    return Path(result.artifact).name + (f" on {device}" if others else "")


def _ms(value: float | None) -> str:
    """Three significant digits or one decimal, whichever is more."""
    return "-" if value is None else f"{value:.2f}" if value < 10 else f"{value:.1f}"
