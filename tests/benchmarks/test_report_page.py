"""The page in a browser, at the width of a phone and of a desk."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgedet.benchmarks.latency import NotRun
from edgedet.benchmarks.report import write_report
from edgedet.errors import NotRunError
from edgedet.evaluation import EvalResult
from tests.benchmarks.report_cases import BUSY, entry, timed, told
from tests.clients.environments import required
from tests.export.snippets_browser import run_page

_LONG = "model_with_a_rather_long_name.onnx"


@pytest.fixture(scope="module")
def seen(result: EvalResult, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a browser saw of a page with every kind of result."""
    folder = tmp_path_factory.mktemp("page")
    onnx = entry(
        _LONG, 0.5, timed(_LONG, 5.0), timed(_LONG, 33.0, "browser", "Browser 1.0"),
        timed(_LONG, 90.0, "ssh:pi", "Single-board computer 4, revision B", noise=(BUSY,)),
    )  # fmt: skip
    by_tool = told("model.tflite", 9.0, "ssh:pi", "Single-board")
    small = entry("model.tflite", 0.4, timed("model.tflite", 2.0), by_tool, precision="fp16")
    refused = NotRun("model.tflite", "this runtime has no operator TFLite_Detection_PostProcess_v2. " * 3, "cuda:0")
    entries = [
        replace(entry("model.pt"), evaluation=result),
        replace(onnx, evaluation=result),
        replace(small, latencies=(*small.latencies, refused)),
    ]
    write_report(folder / "report.html", entries, "A title with averyverylongwordthatcannotbebrokenanywhere", 2)
    shutil.copy(Path(__file__).parent / "report_check.html", folder / "check.html")
    try:
        answer: dict[str, Any] = run_page(folder, "check.html")
    except NotRunError as error:
        if required():
            raise
        pytest.skip(f"not run: {error}")
    return answer


@pytest.mark.parametrize("width", ["phone", "desk"])
def test_the_page_fits_and_is_readable(seen: dict[str, Any], width: str) -> None:
    page = seen[width]
    assert page["asked"] == {"phone": 390, "desk": 1280}[width]
    assert page["scrolled"] <= page["width"]
    assert page["small"] == 0
    assert page["blank"] == 0
    assert page["charts"]
    assert all(left >= 0 and right <= page["width"] and wide >= 300 for left, right, wide in page["charts"])
    assert page["columns"] == {"phone": 1, "desk": 3}[width]


def test_the_page_fetches_nothing(seen: dict[str, Any]) -> None:
    assert seen["phone"]["fetched"] == seen["desk"]["fetched"] == []


def test_a_click_on_a_head_sorts_numbers_and_puts_absences_last(seen: dict[str, Any]) -> None:
    assert seen["sorted"]["up"] == ["2.00", "5.00", "33.00", "90.00", "not measured", "not run"]
    assert seen["sorted"]["down"] == ["90.00", "33.00", "5.00", "2.00", "not measured", "not run"]
