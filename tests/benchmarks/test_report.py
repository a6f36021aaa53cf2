"""The page names every file, hides no absence, and needs no network."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from edgedet.benchmarks.latency import NotRun
from edgedet.benchmarks.report import ReportEntry, failures, write_report
from edgedet.benchmarks.report_entries import missing_entry, with_accuracy
from edgedet.benchmarks.report_figures import confusion_table, curves_svg
from edgedet.benchmarks.report_join import OfAnotherFile
from edgedet.benchmarks.report_pictures import choose, mistakes, side_by_side
from edgedet.benchmarks.report_table import parity_table, summary_table
from edgedet.data import Dataset
from edgedet.evaluation import EvalResult, evaluate_detections
from edgedet.export.parity_report import ParityReport
from edgedet.runner import Detections
from tests.benchmarks.conftest import latency_of, parity_of
from tests.benchmarks.report_cases import BUSY, accuracy, entry, timed


@pytest.fixture
def entries(result: EvalResult) -> list[ReportEntry]:
    """The .pt, a good file, one in the reference runtime, one whose runtime is missing."""
    reference_runtime = "reference runtime (Core ML package in torch)"
    interpreted = replace(result, source=replace(result.source, runtime=reference_runtime))
    return [
        ReportEntry("model.pt", "torch", "fp32", 2_500_000, result, latency_of("model.pt", "torch 2"), None),
        ReportEntry(
            "model.onnx", "onnx", "fp32", 2_400_000, result, latency_of("model.onnx", "onnxruntime 1", 4.0),
            parity_of("passed"), ("input is <RGB>",),
        ),
        ReportEntry(
            "model.mlpackage", "coreml", "fp16", 1_200_000, interpreted, latency_of("m", reference_runtime, 40.0),
            replace(parity_of("passed", "coreml"), precision="fp16"),
        ),
        missing_entry(Path("model.tflite"), "tflite", "fp32", "tflite: a library is missing. Install it."),
    ]  # fmt: skip


class _Page(HTMLParser):
    """Collects addresses, and checks that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset")]
        if tag not in ("meta", "img", "link", "br", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_self_contained(entries: list[ReportEntry], tmp_path: Path) -> None:
    out = write_report(tmp_path / "report.html", entries, "Discs & squares")
    text = out.read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert page.addresses
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    without_pictures = re.sub(r'"data:[^"]*"', "", text)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", without_pictures)
    for file in entries:
        assert file.name in text
    assert "<title>Discs &amp; squares</title>" in text
    assert "input is &lt;RGB&gt;" in text
    assert "a library is missing" in text
    assert "Not a device latency" in text
    assert "prefers-color-scheme: dark" in text


def test_the_summary_says_what_was_measured(entries: list[ReportEntry]) -> None:
    table = summary_table(entries)
    reference, onnx, coreml, tflite = ([cell.text for cell in row] for row in table.rows)
    assert all(len(row) == len(table.head) for row in table.rows)
    assert reference[5:7] == ["-", "reference"]
    assert all(cell.text.strip() for row in table.rows for cell in row)
    assert onnx[:3] == ["model.onnx", "onnx fp32", "2.40"]
    assert onnx[5:] == ["+0.0000", "passed", "50.0", "30.0", "4.0", "4.3", "torch 2"]
    assert coreml[9] == "40.0 †"
    assert tflite[2:] == ["not run"] * 10
    assert table.rows[3][9].title == "tflite: a library is missing. Install it."


def test_not_run_sorts_behind_every_number(entries: list[ReportEntry]) -> None:
    column = [row[9].value for row in summary_table(entries).rows]
    assert max(column) == column[3] == float("inf")


def test_a_change_of_accuracy_fails_a_file(entries: list[ReportEntry], result: EvalResult, dataset: Dataset) -> None:
    """The onnx file finds nothing in half of the images: its parity passed at export, but it is not the model."""
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    half = [found if k % 2 else nothing for k, found in enumerate(result.detections)]
    worse = evaluate_detections(dataset, half, result.source)
    changed = [entries[0], replace(entries[1], evaluation=worse)]
    report = with_accuracy(changed)[1].parity
    assert isinstance(report, ParityReport)
    assert [d.name for d in report.depths] == ["heads", "decoded", "detections", "accuracy"]
    assert report.status == "failed"
    assert report.depth("accuracy").values["coco_ap_change"] < -0.1
    assert failures(entries[:2]) == []
    assert len(failures(changed)) == 1
    assert "model.onnx: parity failed (accuracy: change in COCO AP" in failures(changed)[0]


@pytest.mark.parametrize("status", ["failed", "not run"])
def test_what_did_not_pass_is_a_failure(entries: list[ReportEntry], status: str) -> None:
    lines = failures([entries[0], replace(entries[1], parity=parity_of(status))])
    assert len(lines) == 1
    assert f"parity {status}" in lines[0]
    assert failures(entries)[-1].startswith("model.tflite: not run, accuracy, latency, parity: tflite: a library")


def test_parity_table_has_every_depth(entries: list[ReportEntry]) -> None:
    table = parity_table(with_accuracy(entries))
    assert [row[0].text for row in table.rows] == ["model.onnx", "model.mlpackage", "model.tflite"]
    assert [cell.text for cell in table.rows[0][1:]] == ["not run", "not run", "passed", "passed"]
    assert "missed 0 (limit 0)" in table.rows[0][3].title


def test_what_nobody_measured_says_so() -> None:
    """Without a data set no column is about this host, and a result of other images gives no change."""
    elsewhere = replace(entry("b.onnx"), accuracies=(accuracy("b.onnx", 0.4, images=3),))
    table = summary_table([entry("model.pt", 0.5), entry("a.onnx", 0.45), elsewhere, entry("c.onnx")])
    assert table.head == ("File", "Format", "Size MB", "COCO AP", "AP50", "Change", "Parity", "Runtime")
    assert [[cell.text for cell in row[3:6]] for row in table.rows] == [
        ["0.5000", "0.8000", "-"], ["0.4500", "0.7500", "-0.0500"], ["0.4000", "0.7000", "other images"],
        ["not measured"] * 3,
    ]  # fmt: skip
    assert table.rows[3][7].text == "not measured"
    assert summary_table([entry("a.onnx", 0.45)]).rows[0][5].text == "no .pt"
    assert failures([entry("c.onnx")]) == []


def test_a_disturbed_time_is_marked(entries: list[ReportEntry]) -> None:
    noisy = replace(latency_of("model.onnx", "onnxruntime 1", 4.0), noise=(BUSY,))
    cell = summary_table([replace(entries[1], latency=noisy)]).rows[0][9]
    assert (cell.text, cell.title) == ("4.0 ?", "other work kept 1.50 cores busy")


def test_results_of_other_devices_and_other_files(entries: list[ReportEntry], tmp_path: Path) -> None:
    onnx = replace(entries[1], latencies=(timed("model.onnx", 7.25, noise=(BUSY,)),))
    other = OfAnotherFile("old/model.onnx", "ab" * 32, "latency on Phone (android:1)", "phone.json")
    text = write_report(tmp_path / "r.html", [entries[0], onnx], "T", others=[other]).read_text(encoding="utf-8")
    assert "7.25 ms ?" in text
    assert "Not to be trusted" in text
    assert "other work kept 1.50 cores busy" in text
    assert "old/model.onnx" in text
    assert "digest abababababab" in text
    assert "Of another file" not in write_report(tmp_path / "r.html", [onnx], "T").read_text(encoding="utf-8")


def test_confusion_counts_discs_taken_for_squares(result: EvalResult) -> None:
    table = confusion_table(result.confusion)
    assert table is not None
    discs = sum(
        int((s.objects.class_ids == result.dataset.class_names.index("disc")).sum()) for s in result.dataset.samples
    )
    cell = table.rows[list(result.confusion.class_names).index("disc")][
        1 + result.confusion.class_names.index("square")
    ]
    assert (cell.text, cell.style) == (str(discs), "heat wrong")
    names = tuple(str(k) for k in range(40))
    assert confusion_table(replace(result.confusion, class_names=names, counts=np.zeros((41, 41), np.int64))) is None


def test_pictures_show_every_file_and_the_mistakes(entries: list[ReportEntry], result: EvalResult) -> None:
    head, rows = side_by_side(entries, 3)
    assert head == ("labelled", "model.pt", "model.onnx", "model.mlpackage")
    assert len(rows) == 3
    assert all(len(row.pictures) == 4 for row in rows)
    assert {p.width_px for row in rows for p in row.pictures} == {240}
    captions = [picture.caption for picture in mistakes(result)]
    assert any("disc as square" in caption for caption in captions)


def test_photographs_are_spread_and_one_is_empty(dataset: Dataset) -> None:
    filled = [i for i, s in enumerate(dataset.samples) if len(s.objects)]
    emptied = replace(dataset.samples[filled[0]], objects=_none(dataset))
    with_empty = replace(dataset, samples=(*dataset.samples, emptied))
    chosen = choose(with_empty, 3)
    assert len(chosen) == len(set(chosen)) == 3
    assert len(with_empty.samples[chosen[-1]].objects) == 0
    assert choose(replace(dataset, samples=()), 3) == []


def test_nothing_evaluated_is_still_a_page(tmp_path: Path) -> None:
    absent = missing_entry(Path("model.onnx"), "onnx", "fp32", "no runtime")
    text = write_report(tmp_path / "report.html", [absent], "Nothing").read_text(encoding="utf-8")
    assert "no images: nothing was evaluated" in text
    assert "0 of 1" in text
    assert curves_svg([absent]) == ""
    with pytest.raises(ValueError, match="at least one entry"):
        write_report(tmp_path / "none.html", [], "None")


def test_an_entry_without_latency_keeps_its_accuracy(entries: list[ReportEntry]) -> None:
    entry = replace(entries[1], latency=NotRun("model.onnx", "the process died"))
    assert [c.text for c in summary_table([entry]).rows[0][7:11]] == ["not run"] * 4
    assert entry.absences() == ["latency: the process died"]


def _none(dataset: Dataset):  # type: ignore[no-untyped-def]
    objects = dataset.samples[0].objects
    return replace(objects, **{name: getattr(objects, name)[:0] for name in vars(objects)})
