"""From recordings to results, their JSON forms, and the table that is printed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from edgedet.benchmarks.bench_table import bench_table, mode_tables, remarks
from edgedet.benchmarks.environment import DeviceInfo, Environment
from edgedet.benchmarks.latency import ImagesUsed, Latency, NotRun, read_results, results_json
from edgedet.benchmarks.noise import Counters
from edgedet.benchmarks.recording import FileFacts, Recording, file_facts, latency_from
from edgedet.benchmarks.request import Budget, Mode, Rate, Request, Steady, Sustained, seconds_of
from edgedet.benchmarks.stats import ToolSummary
from edgedet.benchmarks.warmup import WarmUp
from edgedet.errors import DataError, ModelFileError
from edgedet.export.artifact import file_digest
from edgedet.formats import load

FACTS = FileFacts("a.onnx", "onnx", "fp32", 100, "ab" * 32, "cd", 0.05)
PHONE = DeviceInfo("android", "android:1", "a phone", "a core", 8, None, "Android 15", {"SoC": "x"})
ENVIRONMENT = Environment(
    PHONE, 4, threads=2, other_cores_busy=0.0, clock_mhz=(2000.0, 1800.0), notes={"battery": "80"}
)
RECORDING = Recording(
    runtime="runtime 1",
    images=ImagesUsed("photographs", ((8, 8), (9, 9)), ("a.jpg", "b.jpg")),
    environment=ENVIRONMENT,
    runs_ms=(20.0,) * 10 + (10.0,) * 90,
    provider="GPU",
    load_ms=5.0,
    first_ms=30.0,
    stages_ms={"inference": (19.0,) * 10 + (9.0,) * 90},
    starts_s=tuple(float(k) for k in range(100)),
    counters=Counters(100.0, 3000),
)


def judged(mode: Mode, **changes: Any) -> Latency:
    return latency_from(FACTS, replace(RECORDING, **changes), Request(mode=mode))


def printed(latency: Latency | NotRun, *more: Latency | NotRun) -> str:
    console = Console(width=80, record=True, file=None)
    with console.capture() as capture:
        for table in (bench_table([latency, *more]), *mode_tables([latency, *more])):
            console.print(table)
    return capture.get()


def test_warm_up_is_left_out_of_everything() -> None:
    latency = judged(Steady())
    assert latency.warmup == WarmUp(10, "change point")
    assert latency.steady.samples_ms == (10.0,) * 90
    assert latency.steady.intervals_ms == {"p50": (10.0, 10.0), "p90": (10.0, 10.0)}
    assert latency.stages["inference"].samples_ms == (9.0,) * 90
    assert (latency.device.name, latency.provider, latency.first_ms) == ("android:1", "GPU", 30.0)
    assert {check.name: check.exceeded for check in latency.noise}["context switches"]
    assert not latency.trusted


def test_sustained_counts_from_the_first_run_that_counts() -> None:
    result = judged(Sustained(2.0)).sustained
    assert result is not None
    assert [(minute.start_s, minute.runs) for minute in result.minutes] == [(0.0, 60), (60.0, 30)]
    assert result.throttle_onset_s is None


def test_a_rate_and_early_stopping() -> None:
    rate = judged(Rate(1.0)).rate
    assert rate is not None
    assert (rate.offered, rate.dropped, rate.late) == (90, 0, 0)
    early = judged(Steady(early_stopping=True)).early_stopping
    assert early is not None
    assert (early.queries, early.seconds, early.p90_ms, early.valid) == (90, pytest.approx(89.01), 10.0, False)


def test_a_tool_that_keeps_its_runs_to_itself() -> None:
    summary = ToolSummary(10.0, None, None, 50, {"mean": 10.5, "p95": 12.0})
    tool = {"runs_ms": (), "stages_ms": {}, "starts_s": (), "counters": None}
    latency = judged(Steady(), **tool, summary=summary, warmup=WarmUp(5, "by tool"))
    assert latency.steady == summary
    assert Latency.from_json(json.loads(json.dumps(latency.to_json()))) == latency
    assert [check.name for check in latency.noise] == ["other work"]
    row = next(line for line in printed(latency).splitlines() if "a.onnx" in line)
    assert row.split() == ["a.onnx", "5.00", "30.0", "10.0", "-", "-", "-", "-", "-", "-"]
    assert "50 runs, 5 runs of warm-up left out, runtime 1, GPU" in remarks([latency])[0]


def test_a_recording_without_anything_is_a_bug() -> None:
    with pytest.raises(ValueError, match="cannot summarise 0 samples"):
        judged(Steady(), runs_ms=(), stages_ms={})
    with pytest.raises(ValueError, match="90 runs with 0 starts"):
        judged(Sustained(1.0), starts_s=())


@pytest.mark.parametrize("mode", [Steady(), Steady(True), Sustained(0.5), Rate(1.0)])
def test_json_round_trip(mode: Mode, tmp_path: Path) -> None:
    results = [judged(mode), NotRun("b.onnx", "no such phone", "android:2")]
    path = tmp_path / "latency.json"
    path.write_text(json.dumps(results_json(results), allow_nan=False))
    assert read_results(path) == results


SCHEMA_1 = {
    "status": "measured", "device_latency": True, "artifact": "m.onnx", "format": "onnx", "precision": "fp32",
    "runtime": "onnxruntime 1", "file_bytes": 5, "sha256": "ab", "spec_digest": "cd", "score_min": 0.05,
    "images": {"source": "generated", "sizes_wh_px": [[8, 8]], "names": []}, "warmup_runs": 3, "load_ms": 1.0,
    "first_ms": 2.0, "steady": {"p50_ms": 1.0, "p90_ms": 1.0, "p99_ms": 1.0, "samples_ms": [1.0]}, "stages": {},
    "peak_memory_bytes": 7, "environment": {
        "cpu": "a CPU", "cores": 4, "usable_cores": 2, "threads": 1, "governor": None, "cpu_mhz": 2000.0,
        "load_average_1m": [0.1, 0.2], "other_cores_busy": 0.5, "memory_bytes": 9, "os": "Linux", "python": "3.11",
        "versions": {"numpy": "2"},
    },
}  # fmt: skip


def test_results_of_schema_1_stay_readable(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    not_run = {"status": "not run", "artifact": "b.onnx", "reason": "none"}
    path.write_text(json.dumps({"schema": 1, "results": [SCHEMA_1, not_run]}))
    latency, absent = read_results(path)
    assert isinstance(latency, Latency)
    assert latency.warmup == WarmUp(3, "by count")
    assert latency.device == DeviceInfo("host", "host", "a CPU", "a CPU", 4, 9, "Linux")
    assert latency.environment.clock_mhz == (2000.0, 2000.0)
    assert latency.environment.versions == {"python": "3.11", "numpy": "2"}
    assert latency.environment.busy
    assert absent == NotRun("b.onnx", "none", "host")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"results": [{"status": "measured"}]}', '{"results": [{}]}'])
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(DataError, match="holds no results"):
        read_results(path)


@given(
    st.one_of(
        st.builds(Steady, st.booleans()), st.builds(Sustained, st.floats(0.1, 60)), st.builds(Rate, st.floats(1, 240))
    ),
    st.none() | st.integers(1, 8),
    st.none() | st.lists(st.integers(0, 15), min_size=1).map(tuple),
    st.floats(0.1, 100),
)
def test_requests_travel_as_json(
    mode: Mode, threads: int | None, cores: tuple[int, ...] | None, seconds: float
) -> None:
    request = Request((Path("a/b.jpg"),), threads, cores, Budget(seconds=seconds), mode)
    assert Request.from_json(json.loads(json.dumps(request.to_json()))) == request
    assert seconds_of(request) == {"sustained": getattr(mode, "minutes", 0) * 60}.get(
        mode.kind, max(seconds, 60.0) if getattr(mode, "early_stopping", False) else seconds
    )


def test_facts_of_a_file(model_pt: Path, tmp_path: Path) -> None:
    facts, spec = file_facts(model_pt), load(model_pt).spec
    assert (facts.sha256, facts.file_bytes) == file_digest(model_pt)
    assert (facts.spec_digest, facts.score_min, facts.format) == (spec.digest(), spec.nms.score_min, "torch")
    with pytest.raises(ModelFileError, match="no such file"):
        file_facts(tmp_path / "absent.pt")


def test_the_table_fits_a_terminal_and_marks_doubts() -> None:
    doubtful, absent = judged(Steady()), NotRun("b.onnx", "no such phone", "android:2")
    text = printed(doubtful, absent)
    assert max(map(len, text.splitlines())) <= 80
    assert "a.onnx on android:1 ?" in " ".join(text.split())
    assert "not run" in text
    lines = remarks([doubtful, absent])
    assert "b.onnx on android:2: not run: no such phone" in lines
    assert any("? context switches: other work took the core away 30 times a second" in line for line in lines)
    assert lines[-1].startswith("? other things than the file")
    assert any("10 runs of warm-up left out" in line for line in lines)


def test_tables_of_the_modes() -> None:
    slower = tuple(np.repeat([10.0, 12.0], 60).tolist())
    starts = tuple(float(k) for k in range(120))
    sustained = judged(Sustained(2.0), runs_ms=slower, stages_ms={}, starts_s=starts, warmup=WarmUp(0, "none"))
    text = printed(sustained)
    assert "1.20 x" in text
    assert "slower from 60 s on" in text
    assert "60.0/s" in printed(judged(Rate(60.0), starts_s=tuple(k / 60 for k in range(100))))
