"""Devices side by side: what stands in which cell, what is doubtful, and that nothing is blank."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgedet.benchmarks.latency import Latency, NotRun
from edgedet.benchmarks.parts import Parts
from edgedet.benchmarks.report_devices import (
    Place,
    best_at,
    device_table,
    doubtful,
    measurement_table,
    not_run_elsewhere,
    places,
    timings_at,
    way,
)
from edgedet.benchmarks.report_entries import ReportEntry
from edgedet.benchmarks.report_facts import accuracy_facts, device_facts
from edgedet.benchmarks.report_quantization import quantization_table
from edgedet.benchmarks.report_stages import inside_notes, stage_groups, stage_labels
from edgedet.benchmarks.request import Sustained
from edgedet.benchmarks.sustained import SustainedResult
from tests.benchmarks.report_cases import BUSY, entry, timed, told

PHONE = Place("android:1", "Phone")


@pytest.fixture
def entries() -> list[ReportEntry]:
    """Two ways on a phone, of which the faster one was disturbed; a board's tool; a browser that could not."""
    disturbed = timed("model.onnx", 3.0, provider="GPU", noise=(BUSY,))
    onnx = entry("model.onnx", 0.5, timed("model.onnx", 5.0, provider="CPU"), disturbed)
    refused = NotRun("model.tflite", "the browser has no WebGPU. Choose another.", "browser")
    tflite = entry("model.tflite", 0.5, timed("model.tflite", 8.0), told("model.tflite", 90.0, "ssh:pi", "Board"))
    return [entry("model.pt", 0.5), onnx, replace(tflite, latencies=(*tflite.latencies, refused))]


def test_a_column_a_device(entries: list[ReportEntry]) -> None:
    assert places(entries) == [PHONE, Place("ssh:pi", "Board"), Place("browser", "")]
    table = device_table(entries)
    assert table.head == ("File", "Phone\nandroid:1", "Board\nssh:pi", "browser")
    cells = [[cell.text for cell in row] for row in table.rows]
    assert cells == [
        ["model.pt", "not measured", "not measured", "not measured"],
        ["model.onnx", "5.00 ms", "not measured", "not measured"],
        ["model.tflite", "8.00 ms", "mean 90.00 ms", "not run: the browser has no WebGPU. Choose another."],
    ]
    assert table.rows[1][1].lines == ("4.95 to 5.05", "engine 1, CPU, 4 threads", "best of 2 measurements")
    assert table.rows[1][1].style == "num best"
    assert table.rows[2][1].style == "num"


def test_the_same_name_on_two_machines_is_two_devices() -> None:
    files = [entry("a.onnx", None, timed("a.onnx", 1.0, "host", "Laptop"), timed("a.onnx", 2.0, "host", "Server"))]
    assert [row.text for row in device_table(files).rows[0]] == ["a.onnx", "1.00 ms", "2.00 ms"]


def test_a_trusted_measurement_comes_before_a_faster_doubtful_one(entries: list[ReportEntry]) -> None:
    assert [latency.provider for latency in timings_at(entries[1], PHONE)] == ["CPU", "GPU"]
    only_doubtful = replace(entries[1], latencies=entries[1].latencies[1:])
    cell = device_table([only_doubtful]).rows[0][1]
    assert cell.text == "3.00 ms ?"
    assert cell.lines[-1] == "? other work"
    assert doubtful(entries) == [("model.onnx on Phone, engine 1, GPU, 4 threads", ["other work kept 1.50 cores busy"])]


def test_what_was_interpreted_is_never_the_best() -> None:
    interpreted = replace(timed("model.mlpackage", 1.0), runtime="reference runtime (Core ML)")
    file = entry("model.mlpackage", 0.5, interpreted)
    assert best_at(file, PHONE) is None
    assert device_table([file]).rows[0][1].text == "1.00 ms †"
    assert measurement_table([file]).rows[0][5].text == "no device"


def test_a_long_run_is_told_but_not_compared() -> None:
    result = SustainedResult((), 5.0, 6.0, 1.2, 65.0)
    hot = replace(timed("a.onnx", 5.0), mode=Sustained(3), sustained=result)
    file = entry("a.onnx", 0.5, hot)
    assert best_at(file, PHONE) is None
    text = "sustained 3 min: 1.20 x the burst, slower from 65 s on"
    assert text in device_table([file]).rows[0][1].lines
    assert measurement_table([file]).rows[0][-1].text == text


def test_every_measurement_is_a_row_and_no_cell_is_blank(entries: list[ReportEntry]) -> None:
    table = measurement_table(entries)
    assert [(row[0].text, row[1].text) for row in table.rows] == [
        ("model.onnx", "Phone"), ("model.onnx", "Phone"), ("model.tflite", "Phone"), ("model.tflite", "Board"),
        ("model.tflite", "browser"),
    ]  # fmt: skip
    assert [row[5].text for row in table.rows] == [
        "no sign of noise", "doubtful", "no sign of noise", "not judged", "not run",
    ]  # fmt: skip
    board = [cell.text for cell in table.rows[3]]
    assert board[3:8] == ["not measured", "no single runs", "not judged", "not measured", "not measured"]
    assert board[10:12] == ["50", "not measured"]
    for shown in (table, device_table(entries)):
        assert all(len(row) == len(shown.head) for row in shown.rows)
        assert all(cell.text.strip() for row in shown.rows for cell in row)
    assert not_run_elsewhere(entries) == [("model.tflite on browser", ["the browser has no WebGPU. Choose another."])]


def test_the_stages_of_each_device(entries: list[ReportEntry]) -> None:
    phone, board = stage_groups(entries)
    assert [bar.name for bar in phone.bars] == ["model.onnx", "model.tflite"]
    assert sum(stage.percent for stage in phone.bars[1].stages) == pytest.approx(100, abs=0.1)
    assert sum(stage.percent for stage in phone.bars[0].stages) == pytest.approx(62.5, abs=0.1)
    assert [stage.ms for stage in phone.bars[0].stages] == ["0.50", "4.00", "0.50"]
    assert (board.bars, board.undivided) == ((), ("model.tflite",))
    assert stage_labels(entries) == ["resize", "the file: heads, decoding, NMS", "boxes to pixels"]


def test_the_file_is_split_where_it_was_taken_apart() -> None:
    """5 ms, of which 4 ms are the file's; its parts were 1 + 2 + 1 ms in runs of their own, one less than nothing."""
    parts = {"backbone": 1.0, "head": 2.0, "decode": -0.1, "nms": 1.0}
    latency = timed("a.onnx", 5.0)
    inside = Parts("trace", parts, 3.9, 4.0, 4.3, 40)
    taken_apart = entry("a.onnx", 0.5, replace(latency, inside=inside))
    ((bar,),) = [group.bars for group in stage_groups([taken_apart])]
    assert [(stage.name, stage.ms) for stage in bar.stages] == [
        ("preprocess", "0.50"), ("backbone", "1.00"), ("head", "2.00"), ("decode", "0.00"), ("nms", "1.00"),
        ("postprocess", "0.50"),
    ]  # fmt: skip
    assert stage_labels([taken_apart])[1] == "in the file: backbone"
    assert inside.agrees
    assert "in sum 3.90 ms (4.30 with the profiler's own time)" in inside_notes([taken_apart])[0]
    off = replace(latency, inside=replace(inside, sum_ms=4.3))
    assert "not within 5 %" in inside_notes([entry("a.onnx", 0.5, off)])[0]
    assert Latency.from_json(json.loads(json.dumps(off.to_json()))) == off


def test_the_bar_of_an_interpreted_file_is_cut() -> None:
    slow = replace(timed("b.mlpackage", 400.0), runtime="reference runtime")
    (group,) = stage_groups([entry("a.onnx", 0.5, timed("a.onnx", 5.0)), entry("b.mlpackage", 0.5, slow)])
    assert [(bar.cut, bar.device) for bar in group.bars] == [(False, True), (True, False)]
    assert [sum(s.percent for s in bar.stages) for bar in group.bars] == pytest.approx([100, 100], abs=0.1)


def test_the_facts_of_each_device(entries: list[ReportEntry]) -> None:
    phone, board = device_facts(entries)
    assert phone.place == PHONE
    facts = dict(phone.facts)
    assert facts["System"] == "Android 99, 8 GiB of memory"
    assert facts["SoC"] == "One"
    assert facts["Threads"] == "4"
    assert facts["battery"] == "80 %"
    assert facts["Clock"] == "governor not readable, not readable"
    assert facts["Load"] == "average not readable; other work not readable"
    assert dict(board.facts)["Runs"].startswith("batch 1, 50 runs counted")
    text = "10 images of cells, test, score threshold inside the file 0.05"
    assert accuracy_facts(entries) == (("model.pt, model.onnx, model.tflite", text),)


def test_smaller_precisions_against_the_float_file_of_the_same_format() -> None:
    """int8 in 2 ms against fp32 in 5 ms: 2.5 x, and with intervals of 1 % from 2.45 to 2.55."""
    entries = [
        entry("model.pt", 0.5),
        entry("a.onnx", 0.48, timed("a.onnx", 5.0)),
        entry("b.onnx", 0.47, timed("b.onnx", 2.0), precision="int8"),
        entry("c.tflite", None, precision="fp16"),
    ]
    table = quantization_table(entries)
    assert table is not None
    assert table.head[-1] == "Phone\nspeed-up"
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["b.onnx", "onnx int8", "0.50", "25%", "0.4700", "-0.0100", "2.50 x"],
        ["c.tflite", "tflite fp16", "1.00", "no fp32 tflite", "not measured", "no fp32 tflite", "no fp32 tflite"],
    ]
    assert table.rows[0][-1].lines == ("2.45 to 2.55",)
    assert quantization_table(entries[:2]) is None


def test_threads_are_named() -> None:
    latency = timed("a.onnx", 1.0)
    one = replace(latency, environment=replace(latency.environment, threads=1))
    free = replace(latency, environment=replace(latency.environment, threads=None))
    assert [way(x) for x in (one, free)] == ["engine 1, 1 thread", "engine 1"]
