"""Drop tensors, buffers and operator codes that nothing refers to any more: a graph without its old weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgedet.export.tflite_graph import Graph


def compact(graph: Graph) -> None:
    """Renumber what is left, in its old order. Tensor numbers from before are void; names hold."""
    main, model = graph.main, graph.model
    used = {int(t) for op in main.operators for t in (*op.inputs, *op.outputs)} | {*map(int, main.inputs)}
    tensors = _renumber(used | {*map(int, main.outputs)}, len(main.tensors))
    main.tensors = [main.tensors[old] for old in tensors]
    for operator in main.operators:
        operator.inputs, operator.outputs = _mapped(operator.inputs, tensors), _mapped(operator.outputs, tensors)
    main.inputs, main.outputs = _mapped(main.inputs, tensors), _mapped(main.outputs, tensors)
    for signature in model.signatureDefs or ():
        for entry in (*signature.inputs, *signature.outputs):
            entry.tensorIndex = tensors[entry.tensorIndex]
    _compact_buffers(graph)
    codes = _renumber({operator.opcodeIndex for operator in main.operators}, len(model.operatorCodes))
    model.operatorCodes = [model.operatorCodes[old] for old in codes]
    for operator in main.operators:
        operator.opcodeIndex = codes[operator.opcodeIndex]


def _compact_buffers(graph: Graph) -> None:
    """Buffer 0 is the empty one and stays; so do those of metadata."""
    model = graph.model
    holders = [*graph.main.tensors, *(model.metadata or ())]
    buffers = _renumber({0, *(holder.buffer for holder in holders)}, len(model.buffers))
    model.buffers = [model.buffers[old] for old in buffers]
    for holder in holders:
        holder.buffer = buffers[holder.buffer]


def _renumber(used: set[int], count: int) -> dict[int, int]:
    """Old number to new, in old order."""
    return {old: new for new, old in enumerate(old for old in range(count) if old in used)}


def _mapped(numbers: Any, new: dict[int, int]) -> Any:
    """With -1, a tensor left out, as it was."""
    return np.asarray([new[int(number)] if number >= 0 else -1 for number in numbers], np.int32)
