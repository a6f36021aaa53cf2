"""An ONNX graph while it is being rewritten: who makes a tensor, who reads it, which tensors are constants."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, numpy_helper

Array = npt.NDArray[Any]


class OnnxGraph:
    """A graph as Python lists and dictionaries; `store` writes it back.

    Attributes:
        nodes: in an order in which they can run; whoever changes it calls `refresh`.
        constants: initializers by name.
    """

    def __init__(self, proto: onnx.GraphProto) -> None:
        self._proto = proto
        self.nodes: list[NodeProto] = list(proto.node)
        self.constants: dict[str, Array] = {value.name: numpy_helper.to_array(value) for value in proto.initializer}
        self.refresh()

    def refresh(self) -> None:
        self._makers = {name: node for node in self.nodes for name in node.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self._readers.setdefault(name, []).append(node)

    def maker(self, tensor: str) -> NodeProto | None:
        """The node that writes a tensor; None for constants and inputs of the graph."""
        return self._makers.get(tensor)

    def readers(self, tensor: str) -> list[NodeProto]:
        return self._readers.get(tensor, [])

    def only_reader(self, tensor: str) -> NodeProto | None:
        """The node that reads a tensor, if it is the only one."""
        readers = self.readers(tensor)
        return readers[0] if len(readers) == 1 else None

    def data_inputs(self, node: NodeProto) -> list[str]:
        """Names of the inputs that are no constants."""
        return [name for name in node.input if name and name not in self.constants]

    def before(self, tensors: Iterable[str]) -> list[NodeProto]:
        """All nodes that the tensors depend on, in order."""
        wanted, found = list(tensors), set[int]()
        while wanted:
            node = self._makers.get(wanted.pop())
            if node is not None and id(node) not in found:
                found.add(id(node))
                wanted += node.input
        return [node for node in self.nodes if id(node) in found]

    def constant(self, name: str, value: Array) -> str:
        """Add a constant, or take the one of that name if it is the same; returns the name."""
        have = self.constants.get(name)
        assert have is None or (have.dtype == value.dtype and np.array_equal(have, value)), name
        self.constants[name] = value
        return name

    def store(self) -> None:
        """Write nodes and constants into the graph it was read from."""
        nodes = [NodeProto.FromString(node.SerializeToString()) for node in self.nodes]
        del self._proto.node[:], self._proto.initializer[:]
        self._proto.node.extend(nodes)
        used = {name for node in nodes for name in node.input}
        self._proto.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in self.constants.items() if name in used
        )
