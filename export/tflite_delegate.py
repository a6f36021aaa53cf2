"""Which operators of a TFLite file XNNPACK, its delegate on CPUs, leaves to the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# What XNNPACK takes with 8-bit tensors (LiteRT 2.3, where tests/export/test_contracts_tflite_int8.py tries it).
INT8_OPERATORS = frozenset((
    "ADD", "BATCH_MATMUL", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "ELU", "FULLY_CONNECTED",
    "LEAKY_RELU", "LOGISTIC", "MAX_POOL_2D", "MEAN", "MUL", "PAD", "QUANTIZE", "REDUCE_MAX", "REDUCE_MIN", "RESHAPE",
    "RESIZE_BILINEAR", "SLICE", "SPACE_TO_DEPTH", "SPLIT", "STRIDED_SLICE", "SUB", "SUM", "TANH", "TRANSPOSE",
    "TRANSPOSE_CONV",
))  # fmt: skip
MOST_JOINED = 5  # tensors of one CONCATENATION; they must have its scale
# Scale of an input / scale of the output, from (included) and to (excluded): of each input; for MUL of both together;
# for layers of input and weights together (xnnpack_delegate.cc and the checks of XNNPACK's own operators).
RATIOS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("ADD", "SUB"), (2.0**-10, 2.0**8)),
    "MUL": (2.0**-16, 2.0**8),
    "LEAKY_RELU": (2.0**-8, 2.0**7),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"), (2.0**-32, 2.0**8)),
}
_DELEGATE = "DELEGATE"


def operators_outside(nodes: Sequence[dict[str, Any]], outputs: Sequence[int]) -> tuple[str, ...]:
    """Names of the operators that run one by one, in running order, once a delegate has taken its share.

    After delegation the interpreter lists the original operators and, behind them, one node for each part of the graph
    that a delegate took. Which of the two kinds runs is not said, but follows: a tensor that a delegate's node gives
    comes from there, and only what is needed for the outputs runs.

    Args:
        nodes: as `Interpreter._get_ops_details()` lists them: "op_name", "inputs" and "outputs" (tensor numbers).
        outputs: numbers of the graph's output tensors.
    """
    producer: dict[int, int] = {}
    for number, node in enumerate(nodes):
        for tensor in node["outputs"]:
            if node["op_name"] == _DELEGATE or tensor not in producer:
                producer[int(tensor)] = number
    running: set[int] = set()
    waiting = [int(tensor) for tensor in outputs]
    while waiting:
        found = producer.get(waiting.pop())
        if found is not None and found not in running:
            running.add(found)
            waiting += [int(tensor) for tensor in nodes[found]["inputs"]]
    return tuple(nodes[number]["op_name"] for number in sorted(running) if nodes[number]["op_name"] != _DELEGATE)


def is_delegated(nodes: Sequence[dict[str, Any]]) -> bool:
    """Whether a delegate took any part of the graph; `nodes` as above."""
    return any(node["op_name"] == _DELEGATE for node in nodes)
