"""Smaller precisions against the fp32 file of the same format: what they save and what they cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgedet.benchmarks.latency import Latency
from edgedet.benchmarks.report_cells import Cell, Table, not_measured, number
from edgedet.benchmarks.report_devices import Place, best_at, places, typical_ms
from edgedet.benchmarks.report_entries import ReportEntry

FLOAT = "fp32"


def quantization_table(entries: Sequence[ReportEntry]) -> Table | None:
    """One row an exported file that is not fp32; None where there is no such file.

    Size, accuracy and speed are relative to the fp32 file of the same format, on the same device.
    """
    rows = [entry for entry in entries if not entry.is_reference and entry.precision != FLOAT]
    if not rows:
        return None
    columns = [place for place in places(entries) if any(best_at(entry, place) for entry in rows)]
    head = ("File", "Precision", "Size MB", "of fp32", "COCO AP", "Change", *(f"{p.title}\nspeed-up" for p in columns))
    return Table(head, tuple(_row(entry, _float_file(entry, entries), columns) for entry in rows))


def _float_file(entry: ReportEntry, entries: Sequence[ReportEntry]) -> ReportEntry | None:
    """The fp32 file of the same format, if exactly one is among the entries."""
    found = [e for e in entries if not e.is_reference and (e.format, e.precision) == (entry.format, FLOAT)]
    return found[0] if len(found) == 1 else None


def _row(entry: ReportEntry, base: ReportEntry | None, columns: Sequence[Place]) -> tuple[Cell, ...]:
    size, accuracy = entry.size_bytes, entry.accuracy
    return (
        Cell(entry.name, entry.name, "name"),
        Cell(f"{entry.format} {entry.precision}", f"{entry.format} {entry.precision}", "format"),
        number(None if size is None else size / 1e6, 2),
        _no_base(entry) if base is None else _share(size, base.size_bytes),
        not_measured() if accuracy is None else number(accuracy.metrics["coco_ap"], 4),
        _no_base(entry) if base is None else _change(entry, base),
        *(_no_base(entry) if base is None else speed_up(best_at(entry, p), best_at(base, p)) for p in columns),
    )


def _no_base(entry: ReportEntry) -> Cell:
    return Cell(f"no fp32 {entry.format}", math.inf, "muted", f"give one {FLOAT} file of this format to compare with")


def _share(size: int | None, base: int | None) -> Cell:
    return number(None, 0) if size is None or not base else Cell(f"{size / base:.0%}", size / base, "num")


def _change(entry: ReportEntry, base: ReportEntry) -> Cell:
    if entry.accuracy is None or base.accuracy is None:
        return not_measured()
    if entry.accuracy.pictures != base.accuracy.pictures:
        return Cell("other images", math.inf, "muted")
    change = entry.accuracy.metrics["coco_ap"] - base.accuracy.metrics["coco_ap"]
    return Cell(f"{change:+.4f}", change, "num")


def speed_up(latency: Latency | None, base: Latency | None) -> Cell:
    """How many times as fast as the fp32 file, with the widest ratio that the two intervals allow."""
    times = [None if row is None else typical_ms(row) for row in (latency, base)]
    if latency is None or base is None or not times[0] or not times[1]:
        return not_measured()
    ratio = times[1] / times[0]
    lines = []
    intervals = [row.steady.intervals_ms.get("p50") for row in (latency, base)]
    if intervals[0] and intervals[1]:
        lines.append(f"{intervals[1][0] / intervals[0][1]:.2f} to {intervals[1][1] / intervals[0][0]:.2f}")
    doubt = "" if latency.trusted and base.trusted else " ?"
    return Cell(f"{ratio:.2f} x{doubt}", ratio, "num", lines=tuple(lines))
