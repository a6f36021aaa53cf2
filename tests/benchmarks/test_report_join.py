"""Results from elsewhere are joined by the digest of the file, and by nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from edgedet.benchmarks.latency import Latency, NotRun, results_json
from edgedet.benchmarks.report_collect import names_of
from edgedet.benchmarks.report_evaluations import Accuracy, read_accuracy
from edgedet.benchmarks.report_join import join_results
from edgedet.data import Dataset
from edgedet.errors import DataError
from edgedet.evaluation import EvalResult, evaluate
from edgedet.files import file_digest, write_json
from edgedet.formats import load
from tests.benchmarks.report_cases import accuracy, digest, entry, timed


def written(path: Path, *results: Latency | NotRun) -> Path:
    write_json(path, results_json(results))
    return path


def test_the_digest_decides_not_the_name(tmp_path: Path) -> None:
    same = replace(timed("model.onnx", 5.0), artifact="/on/a/phone/renamed.onnx")
    stale = replace(timed("model.onnx", 4.0), sha256="f" * 64)
    path = written(tmp_path / "phone.json", same, stale)
    (model, onnx), others = join_results([entry("model.pt"), entry("model.onnx")], [path])
    assert model.latencies == ()
    assert onnx.latencies == (same,)
    assert [(o.artifact, o.sha256, o.source) for o in others] == [("elsewhere/model.onnx", "f" * 64, "phone.json")]
    assert others[0].what == "latency on Phone (android:1)"


def test_a_folder_is_searched_and_nothing_counts_twice(tmp_path: Path) -> None:
    written(tmp_path / "fleet" / "phone" / "a.json", timed("model.onnx", 5.0))
    again = written(tmp_path / "fleet" / "b.json", timed("model.onnx", 5.0), timed("model.onnx", 6.0))
    (onnx,), others = join_results([entry("model.onnx")], [tmp_path / "fleet", again])
    assert sorted(t.steady.p50_ms or 0 for t in onnx.timings) == [5.0, 6.0]
    assert others == []


def test_what_was_not_run_follows_the_digest_of_its_path_or_the_only_file_of_its_name(tmp_path: Path) -> None:
    """Where the same results time a file of that path, its digest says whether it is ours."""
    entries = [entry("model.onnx"), entry("model.tflite"), entry("a/x.onnx"), entry("b/x.onnx")]
    path = written(
        tmp_path / "r.json",
        NotRun("run/model.tflite", "no delegate", "android:1"),
        NotRun("elsewhere/model.onnx", "out of memory", "android:1"),
        replace(timed("model.onnx", 4.0), sha256="f" * 64),
        NotRun("run/x.onnx", "which one?", "android:1"),
    )
    joined, others = join_results(entries, [path])
    assert [e.untimed for e in joined] == [(), (NotRun("run/model.tflite", "no delegate", "android:1"),), (), ()]
    assert [o.what for o in others] == [
        "latency on android:1: not run, out of memory", "latency on Phone (android:1)",
        "latency on android:1: not run, which one?",
    ]  # fmt: skip


def test_an_evaluation_comes_back_as_it_was_written(model_pt: Path, dataset: Dataset, tmp_path: Path) -> None:
    """Of a real run of a real file: its digest is that of the bytes."""
    result = evaluate(load(model_pt), dataset, max_images=1, progress=False)
    write_json(tmp_path / "eval.json", result.to_json())
    found = read_accuracy(tmp_path / "eval.json")
    assert found.sha256 == file_digest(model_pt)[0]
    assert found.pictures == (dataset.root.name, "test", 1)
    assert json.dumps(found.metrics) == json.dumps(Accuracy.of(result).metrics)
    ours = replace(entry("model.pt"), sha256=found.sha256)
    (joined, _), others = join_results([ours, entry("model.onnx")], evaluations=[tmp_path])
    assert joined.accuracy is not None
    assert joined.accuracy.artifact == str(model_pt)
    assert others == []
    _, others = join_results([entry("model.onnx")], evaluations=[tmp_path])
    assert others[0].what == f"accuracy on 1 images of {dataset.root.name}, test"


def test_accuracies_that_can_be_compared_come_first(tmp_path: Path) -> None:
    """a.onnx was evaluated on 3 and on 10 images, b.onnx on 10 only."""
    for name, images in (("a.onnx", 3), ("a.onnx", 10), ("b.onnx", 10)):
        write_json(tmp_path / f"{name}.{10 - images}.json", asdict(accuracy(name, 0.5, images)))
    joined, _ = join_results([entry("a.onnx"), entry("b.onnx")], evaluations=[tmp_path])
    assert [[found.images for found in e.accuracies] for e in joined] == [[10, 3], [10]]
    write_json(tmp_path / "c.json", asdict(accuracy("b.onnx", 0.5, 3)))
    joined, _ = join_results([entry("a.onnx"), entry("b.onnx")], evaluations=[tmp_path / "c.json", tmp_path])
    assert [[found.images for found in e.accuracies] for e in joined] == [[10, 3], [10, 3]]


def test_what_is_measured_here_comes_before_what_was_brought(result: EvalResult) -> None:
    both = replace(entry("model.onnx", 0.123), evaluation=result)
    assert both.accuracy == Accuracy.of(result)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"results": []}', '{"metrics": {"coco_ap": "high"}}'])
def test_what_is_no_result_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"r.json: holds no result of `edgedet eval`"):
        join_results([entry("model.onnx")], evaluations=[path])
    if '"results"' not in text:
        with pytest.raises(DataError, match=r"r.json: holds no results of `edgedet bench`"):
            join_results([entry("model.onnx")], [path])


def test_an_evaluation_of_no_file_and_an_empty_folder_are_refused(result: EvalResult, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \.json file"):
        join_results([], [tmp_path])
    write_json(tmp_path / "eval.json", result.to_json())
    with pytest.raises(DataError, match="does not say of which file it is"):
        join_results([], evaluations=[tmp_path / "eval.json"])


def test_a_missing_file_has_no_digest_to_join_by(tmp_path: Path) -> None:
    missing = replace(entry("model.onnx"), sha256="")
    (joined,), others = join_results([missing], [written(tmp_path / "a.json", timed("model.onnx", 5.0))])
    assert joined.latencies == ()
    assert others[0].sha256 == digest("model.onnx")


def test_files_of_the_same_name_get_their_folders(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "m.onnx", tmp_path / "b" / "m.onnx", tmp_path / "a" / "n.onnx"]
    assert names_of(paths) == ["a/m.onnx", "b/m.onnx", "n.onnx"]
