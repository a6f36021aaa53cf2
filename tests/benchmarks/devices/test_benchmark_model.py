"""Flags and output of benchmark_model. The texts were written after the formats in the tools' sources, not copied."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedet.benchmarks.devices.benchmark_model import DIALECTS, Fed, Runs, arguments, dialect_of, extra_flags
from edgedet.benchmarks.devices.benchmark_model_output import OperatorTime, RunStats, is_finished, parse
from edgedet.benchmarks.devices.benchmark_model_summary import interval, operator_notes, pooled, single_runs
from edgedet.errors import EdgedetError, ModelFileError
from tests.benchmarks.devices.benchmark_model_stand_in import _stat

_HEAD = "\t" + "\t".join(
    ("                             [node type]", "  [first]", " [avg ms]", "     [%]", "  [cdf%]", "  [mem KB]")
) + "\t[times called]\t[Name]"  # fmt: skip


def _row(kind: str, ms: float, calls: int, name: str) -> str:
    return f"\t{kind:>40}\t{ms:9.3f}\t{ms:9.3f}\t{50:7.3f}%\t{50:7.3f}%\t{0:10.3f}\t{calls:>9}\t{name}"


# TensorFlow Lite, of 2024: percentiles, a profile with initialisation and a delegate's inside.
TFLITE = f"""\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Graph: [/data/local/tmp/x/model.tflite]
INFO: Loaded model /data/local/tmp/x/model.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: The input model file size (MB): 3.5
INFO: Initialized session in 41.5ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=12 first=61250 curr=40100 min=40000 max=61250 avg=42000.5 std=5800 p5=40000 median=40500 p95=61250

INFO: Running benchmark for at least 2 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=25 first=40210 curr=40090 min=39900 max=43000 avg=40300.2 std=520 p5=39950 median=40150 p95=41900

INFO: Inference timings in us: Init: 41512, First inference: 61250, Warmup (avg): 42000.5, Inference (avg): 40300.2
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual \
memory footprint of the model at runtime. Take the information at your discretion.
INFO: Memory footprint delta from the start of the tool (MB): init=12.5 overall=20.25
INFO: Overall peak memory footprint (MB) via periodic monitoring: 30.5
INFO: Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
{_HEAD}
{_row("ModifyGraphWithDelegate", 5.0, 1, "ModifyGraphWithDelegate/0")}

INFO: Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
{_HEAD}
{_row("TfLiteXNNPackDelegate", 38.0, 1, "[scores, boxes]:92")}
{_row("TFLite_Detection_PostProcess", 1.25, 2, "[found]:91")}

============================== Top by Computation Time ==============================
{_HEAD}
{_row("TfLiteXNNPackDelegate", 38.0, 1, "[scores, boxes]:92")}

Timings (microseconds): count=25 first=39000 curr=39100 min=39000 max=40000 avg=39250 std=100
Memory (bytes): count=0
2 nodes observed

Delegate internal:
============================== Run Order ==============================
{_HEAD}
{_row("DelegateOpInvoke", 37.0, 1, "Delegate/Convolution:0")}
"""

# TensorFlow Lite, of 2020: no percentiles, "start" among the columns, a mean that C++ prints with an exponent.
OLD = """\
STARTING!
Loaded model model.tflite
count=1 curr=2100000
count=2 first=2000000 curr=2100000 min=2000000 max=2100000 avg=2.05e+06 std=50000
Inference timings in us: Init: 3500, First inference: 2100000, Warmup (avg): 2.1e+06, Inference (avg): 2.05e+06
Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t             [node type]\t  [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t                 CONV_2D\t    0.000\t 2000.000\t 2050.000\t100.000%\t100.000%\t     0.000\t        1\t[x]:0

"""

# LiteRT: TFLITE_LOG goes to stdout and LITERT_LOG to stderr, so the two mix.
LITERT = f"""\
INFO: Loading model from: /data/local/tmp/x/model.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: STARTING!
INFO:\x20
========== BENCHMARK RESULTS ==========
INFO: Signature name:       serving_default
INFO: Model initialization: 55.25 ms
INFO: Warmup (first):       70.10 ms
INFO: Warmup (avg):         44.00 ms (11 runs)
INFO: Inference (avg):      41.00 ms (3 runs)
INFO: Inference (min):      40.00 ms
INFO: Inference (max):      42.00 ms
INFO: Inference (std):      0.81
INFO: Throughput:           7.50 MB/s
INFO:\x20
Memory Usage:
INFO: Init footprint:       12.00 MB
INFO: Overall footprint:    14.00 MB
INFO: Peak memory:          33.00 MB
INFO: ======================================

INFO: Initialized session in 55.25ms.
INFO: count=11 first=70100 curr=41000 min=41000 max=70100 avg=44000 std=8000 p5=41000 median=41200 p95=70100

INFO: count=3 first=40000 curr=42000 min=40000 max=42000 avg=41000.3 std=816 p5=40000 median=41001 p95=42000

INFO:\x20
============================== Run Order ==============================
{_HEAD}
{_row("TfLiteXNNPackDelegate", 39.0, 1, "[scores]:92")}

"""


def test_tensorflow_lites_output() -> None:
    said = parse(TFLITE)
    assert (said.dialect, said.load_ms, said.first_ms, said.warmup_runs) == ("tflite", 41.512, 61.25, 12)
    assert said.runs == RunStats(25, 40.21, 40.09, 39.9, 43.0, 40.3002, 0.52, 39.95, 40.15, 41.9)
    assert said.peak_memory_bytes == round(30.5 * 2**20)
    assert said.delegates == ("XNNPACK",)
    assert said.operators == (
        OperatorTime("TfLiteXNNPackDelegate", "[scores, boxes]:92", 38.0),
        OperatorTime("TFLite_Detection_PostProcess", "[found]:91", 2.5),
    )
    assert operator_notes(said) == {
        "operators": "TfLiteXNNPackDelegate 38.000 ms, TFLite_Detection_PostProcess 2.500 ms; "
        "all 40.500 ms of 40.300 ms a profiled run",
        "outside the delegate": "TFLite_Detection_PostProcess 2.500 ms",
    }


def test_an_old_tools_output() -> None:
    said = parse(OLD)
    assert said.runs == RunStats(2, 2000.0, 2100.0, 2000.0, 2100.0, 2050.0, 50.0)
    assert (said.warmup_runs, said.peak_memory_bytes) == (1, None)
    assert said.operators == (OperatorTime("CONV_2D", "[x]:0", 2050.0),)
    assert "outside the delegate" not in operator_notes(said)
    assert pooled([said, said]).p50_ms is None


def test_litert_output() -> None:
    said = parse(LITERT)
    assert (said.dialect, said.load_ms, said.first_ms, said.warmup_runs) == ("litert", 55.25, 70.1, 11)
    assert (said.runs.count, said.runs.p50_ms, said.runs.p95_ms) == (3, 41.001, 42.0)
    assert said.peak_memory_bytes == 33 * 2**20
    assert said.operators == (OperatorTime("TfLiteXNNPackDelegate", "[scores]:92", 39.0),)
    assert operator_notes(said)["outside the delegate"] == "nothing"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("INFO: STARTING!\nERROR: Failed to load model /x\nERROR: Benchmarking failed.\n", "Failed to load model /x"),
        ("INFO: STARTING!\nINFO: Loaded model\n", "printed no timings; its last line: INFO: Loaded model"),
        ("", "printed nothing"),
        (TFLITE.replace("count=25", "count=0"), "printed no timings"),
        (TFLITE.split("INFO: count=25")[0], "printed no timings"),
    ],
)
def test_an_output_without_timings_is_an_error(text: str, words: str) -> None:
    with pytest.raises(EdgedetError, match="benchmark_model") as caught:
        parse(text)
    assert words in str(caught.value)


def test_when_a_log_is_finished() -> None:
    assert is_finished(TFLITE)
    assert is_finished("ERROR: Benchmarking failed.")
    assert not is_finished(TFLITE.split("INFO: Inference timings")[0])


def test_flags_of_the_dialects() -> None:
    tflite, litert = DIALECTS
    runs, fed = Runs(10, 1.5, 0.5, fps=30.0), Fed((1, 96, 128, 3), "/data/local/tmp/x/input0.bin")
    found = arguments(tflite, "/m", runs, 4, fed, ("--use_gpu=true",))
    assert found == [
        "--graph=/m", "--num_runs=10", "--min_secs=1.5", "--max_secs=60", "--warmup_runs=1", "--warmup_min_secs=0.5",
        "--num_threads=4", "--run_frequency=30", "--input_layer=image", "--input_layer_shape=1,96,128,3",
        "--input_layer_value_files=image:/data/local/tmp/x/input0.bin", "--use_gpu=true",
    ]  # fmt: skip
    assert not any("input_layer" in flag for flag in arguments(litert, "/m", runs, None, fed))
    assert extra_flags("--a=1 --b='x y'") == ["--a=1", "--b=x y"]


def test_a_binary_is_known_by_the_names_of_its_flags(tmp_path: Path) -> None:
    path = tmp_path / "benchmark_model"
    for dialect in DIALECTS:
        path.write_bytes(b"\x7fELF\0" + dialect.mark + b"\0more")
        assert dialect_of(path) is dialect
    path.write_bytes(b"\x7fELF")
    with pytest.raises(ModelFileError, match="is not a benchmark_model binary"):
        dialect_of(path)


def test_pooled_moments_are_those_of_all_runs() -> None:
    """Runs 1, 3 and 5, 5, 8 ms: mean 4.4, population std sqrt(5.44)."""
    first = parse(OLD.replace("count=2 first=2000000 curr=2100000 min=2000000 max=2100000 avg=2.05e+06 std=50000",
                              "count=2 first=1000 curr=3000 min=1000 max=3000 avg=2000 std=1000"))  # fmt: skip
    second = parse(OLD.replace("count=2 first=2000000 curr=2100000 min=2000000 max=2100000 avg=2.05e+06 std=50000",
                               "count=3 first=5000 curr=8000 min=5000 max=8000 avg=6000 std=1414.2136"))  # fmt: skip
    summary = pooled([first, second])
    assert summary.runs == 5
    assert summary.aggregates_ms["mean"] == pytest.approx(4.4)
    assert summary.aggregates_ms["std"] == pytest.approx(5.44**0.5, abs=1e-3)
    assert (summary.aggregates_ms["min"], summary.aggregates_ms["max"]) == (1.0, 8.0)


def test_interval_of_known_values() -> None:
    """Mean 3, standard deviation 1, n = 3: 3 -+ 4.303 / sqrt(3)."""
    low, high = interval([2.0, 3.0, 4.0]) or (0.0, 0.0)
    assert (low, high) == (pytest.approx(0.5157, abs=1e-4), pytest.approx(5.4843, abs=1e-4))
    assert interval([1.0, 2.0]) is None


@given(st.lists(st.integers(min_value=50, max_value=300_000), min_size=1, max_size=3))
def test_single_runs_come_back_from_three_aggregates(times_us: list[int]) -> None:
    text = OLD.replace(
        "count=2 first=2000000 curr=2100000 min=2000000 max=2100000 avg=2.05e+06 std=50000", _stat(times_us)
    )
    found = single_runs(parse(text).runs)
    for run_ms, time_us in zip(found, times_us, strict=True):
        assert run_ms == pytest.approx(time_us / 1e3, abs=3 * 3e-6 * sum(times_us) / 1e3)


def test_more_than_three_runs_keep_their_secret() -> None:
    with pytest.raises(ValueError, match="25 runs"):
        single_runs(parse(TFLITE).runs)
