"""A .tflite cut at its inner tensors, and the operators that its delegate leaves to the interpreter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from edgedet.benchmarks.operators import Attribution, OperatorCost, medians_ms
from edgedet.errors import NotRunError
from edgedet.export.card import CardRunner
from edgedet.export.tflite_graph import Graph
from edgedet.export.tflite_runner import BOX_CODES, LOGITS, TfliteRunner, _interpreter

# Why XNNPACK leaves an operator to the interpreter, and what to write instead.
HINTS = {
    "TFLite_Detection_PostProcess": "a custom operator runs on the CPU in every delegate; export with "
    "--tflite-layout mediapipe-gpu to leave suppression to the app",
    "CAST": "it changes the type of a tensor: feed the type that the network takes (no --tflite-input uint8)",
    "GATHER": "it picks rows by number: slice instead, where the rows lie together",
    "SPLIT": "write slices of the tensor instead",
    "TOPK_V2": "sorting is for the CPU: leave it behind the last operator of the delegate",
    "QUANTIZE": "precision changes here: quantize the operators on both sides alike",
    "DEQUANTIZE": "weights are stored in another precision than they are computed in",
}
_NO_HINT = "see XNNPACK's list of operators; types or shapes other than static float32 keep an operator out of it"


def by_cutting(runner: CardRunner, pixels: Sequence[Tensor], threads: int | None, runs: int) -> Attribution:
    """Time the file up to its features, its heads, its decoded boxes, and whole, in turns."""
    assert isinstance(runner, TfliteRunner)
    if not runner.suppresses:
        raise NotRunError(f"{runner.path}: it leaves decoding and suppression to the app", "Take the default layout.")
    sides = {"heads": _up_to(runner, (BOX_CODES, LOGITS)), "decoded": runner.before_nms(), "whole": runner.infer}
    features = feature_tensors(runner.cut((BOX_CODES, LOGITS)))
    if features:
        sides["features"] = _up_to(runner, features)
    times = medians_ms(sides, pixels, runs)
    network: tuple[OperatorCost, ...] = (OperatorCost("backbone and head", "all", 1, times["heads"]),)
    if features:
        network = (
            OperatorCost("backbone", "all", 1, times["features"]),
            OperatorCost("head", "all", 1, times["heads"] - times["features"]),
        )
    operators = (
        *network,
        OperatorCost("decode", "scores", 1, times["decoded"] - times["heads"]),
        OperatorCost("nms", "suppression, with the boxes' decoding", 1, times["whole"] - times["decoded"]),
    )
    outside = outside_with_hints(runner.operators_outside_delegate()) if runner.provider else ()
    path = str(runner.path)
    return Attribution(path, runner.runtime, "cut", threads, runs, times["whole"], operators, outside)


def feature_tensors(graph: Graph) -> tuple[str, ...]:
    """Where the heads begin: what both outputs of a graph need, and something else than that takes.

    Empty where box codes and logits come from the same convolutions, so that nothing divides backbone and heads.
    """
    boxes, logits = (_before(graph, graph.tensor(name)) for name in (BOX_CODES, LOGITS))
    shared = boxes & logits
    if not any(_convolves(graph, number) for number in boxes - shared):
        return ()
    operators = graph.main.operators
    taken = {int(tensor) for number in (boxes | logits) - shared for tensor in operators[number].inputs}
    given = [int(tensor) for number in sorted(shared) for tensor in operators[number].outputs]
    return tuple(graph.name(tensor) for tensor in given if tensor in taken)


def _before(graph: Graph, tensor: int) -> set[int]:
    """Numbers of the operators that a tensor needs."""
    number_of = {int(out): k for k, operator in enumerate(graph.main.operators) for out in operator.outputs}
    found: set[int] = set()
    waiting = [tensor]
    while waiting:
        number = number_of.get(waiting.pop())
        if number is not None and number not in found:
            found.add(number)
            waiting += [int(one) for one in graph.main.operators[number].inputs]
    return found


def _convolves(graph: Graph, number: int) -> bool:
    return "CONV" in graph.operator_name(graph.main.operators[number])


def outside_with_hints(names: Sequence[str]) -> tuple[str, ...]:
    """Lines like "2 x CAST: what to do about it", in the order of running."""
    return tuple(f"{count} x {name}: {HINTS.get(name, _NO_HINT)}" for name, count in Counter(names).items())


def _up_to(runner: TfliteRunner, tensors: Sequence[str]) -> Any:
    interpreter = _interpreter(runner.threads, model_content=runner.cut(tensors).to_bytes())

    def run(network_pixels: Tensor) -> None:
        runner._feed(interpreter, network_pixels)
        interpreter.invoke()

    return run
