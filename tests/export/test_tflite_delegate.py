from __future__ import annotations

from edgedet.export.tflite_delegate import is_delegated, operators_outside
from edgedet.export.tflite_runner import TfliteRunner
from tests.exported_files import Export


def node(name: str, inputs: list[int], outputs: list[int]) -> dict[str, object]:
    return {"op_name": name, "inputs": inputs, "outputs": outputs}


def test_what_a_delegate_took_does_not_run_by_itself() -> None:
    """0 -CONV-> 1 -ADD-> 2 -TOPK-> 3 -MUL-> 4: a delegate takes CONV and ADD, another one MUL; TOPK is left."""
    nodes = [
        node("CONV_2D", [0], [1]), node("ADD", [1], [2]), node("TOPK_V2", [2], [3]), node("MUL", [3], [4]),
        node("DELEGATE", [0], [2]), node("DELEGATE", [3], [4]),
    ]  # fmt: skip
    assert operators_outside(nodes, [4]) == ("TOPK_V2",)
    assert is_delegated(nodes)
    assert not is_delegated(nodes[:4])
    assert operators_outside(nodes[:4], [4]) == ("CONV_2D", "ADD", "TOPK_V2", "MUL")


def test_what_no_output_needs_does_not_run() -> None:
    assert operators_outside([node("SUB", [0], [1]), node("CAST", [0], [2])], [2]) == ("CAST",)


def test_suppression_of_a_real_file_stays_outside(exported: Export) -> None:
    runner = exported("ssdlite_mobilenet_v2", "tflite", "fp32").runner()
    assert isinstance(runner, TfliteRunner)
    assert runner.provider == "XNNPACK"
    names = runner.operators_outside_delegate()
    assert names.count("TFLite_Detection_PostProcess") == 1
    assert "CONV_2D" not in names
