"""The bounded readers: they read what the libraries' own do, and stop where those would not."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedet.export import inspect_protobuf, inspect_tflite
from edgedet.export.inspect_flatbuffer import MAX_PARTS, FlatReader
from edgedet.export.inspect_protobuf import parse
from edgedet.export.inspect_report import element_count, map_file, printable
from edgedet.export.inspect_zip import appended_files
from edgedet.export.tflite_graph import Graph, metadata_entry
from edgedet.export.tflite_metadata import METADATA
from edgedet.export.tflite_metadata_schema import read_metadata
from tests.exported_files import Export

TABLES = {
    "Node": (("value", "int"), ("children", "[Node]"), ("name", "string"), ("kind", "Kind"), ("data", "[ubyte]")),
}
ENUMS = {"Kind": ("LEAF", "BRANCH")}


@pytest.fixture(scope="session")
def tflite(exported: Export) -> Path:
    return exported("yolov3_tiny", "tflite", "fp32").artifact.path


# Flatbuffers


def node(builder: flatbuffers.Builder, value: int, children: list[int], name: str = "", kind: int = 0) -> int:
    text, data = builder.CreateString(name), builder.CreateByteVector(b"abc")
    builder.StartVector(4, len(children), 4)
    for child in reversed(children):
        builder.PrependUOffsetTRelative(child)
    vector = builder.EndVector()
    builder.StartObject(5)
    builder.PrependInt32Slot(0, value, 0)
    builder.PrependUOffsetTRelativeSlot(1, vector, 0)
    builder.PrependUOffsetTRelativeSlot(2, text, 0)
    builder.PrependUint8Slot(3, kind, 0)
    builder.PrependUOffsetTRelativeSlot(4, data, 0)
    return int(builder.EndObject())


def written(build: Callable[[flatbuffers.Builder], int]) -> bytes:
    builder = flatbuffers.Builder()
    builder.Finish(build(builder))
    return bytes(builder.Output())


def read(data: bytes) -> dict[str, object]:
    return FlatReader(data, TABLES, ENUMS).root("Node")


def test_a_table_is_read_with_what_is_in_it() -> None:
    data = written(lambda b: node(b, -5, [node(b, 7, [], "leaf")], "root", 1))
    found = read(data)
    assert (found["value"], found["name"], found["kind"]) == (-5, "root", "BRANCH")
    (leaf,) = found["children"]  # type: ignore[misc]
    assert (leaf["value"], leaf["name"], bytes(leaf["data"])) == (7, "leaf", b"abc")
    assert "kind" not in leaf  # at its default, as a flatbuffer writes it


def test_an_enum_of_a_later_schema_is_its_number() -> None:
    assert read(written(lambda b: node(b, 1, [], kind=9)))["kind"] == 9


def test_one_large_table_that_is_named_many_times_is_too_much() -> None:
    """600 x 600 x 600 nodes in a file of some kilobytes."""

    def build(builder: flatbuffers.Builder) -> int:
        child = node(builder, 1, [])
        for _ in range(3):
            child = node(builder, 1, [child] * 600)
        return child

    data = written(build)
    assert len(data) < 20_000 < MAX_PARTS
    with pytest.raises(ValueError, match="more parts"):
        read(data)


def test_an_offset_that_leads_back_is_refused() -> None:
    """Offsets are unsigned: one that would close a circle points far behind the end."""
    data = bytearray(written(lambda b: node(b, 1, [node(b, 2, [])])))
    root = struct.unpack_from("<I", data, 0)[0]
    vtable = root - struct.unpack_from("<i", data, root)[0]
    field = root + struct.unpack_from("<H", data, vtable + 4 + 2 * 1)[0]
    vector = field + struct.unpack_from("<I", data, field)[0]
    struct.pack_into("<I", data, vector + 4, (root - vector - 4) % 2**32)
    with pytest.raises(ValueError, match="outside"):
        read(bytes(data))


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        read(data)
    except ValueError as error:
        assert str(error)  # noqa: PT017 (bytes that can be read are as right)


def test_a_tflite_is_read_as_by_the_generated_classes(tflite: Path) -> None:
    graph, file = Graph.parse(tflite.read_bytes()), inspect_tflite.read(tflite).content
    assert [t.name for t in file.tensors] == [t.name.decode() for t in graph.main.tensors]
    shapes = [graph.shape(index) for index in range(len(graph.main.tensors))]
    assert [tensor.shape or () for tensor in file.tensors] == shapes
    assert [op.name for op in file.operators] == [graph.operator_name(op) for op in graph.main.operators]
    assert [op.inputs for op in file.operators] == [tuple(map(int, op.inputs)) for op in graph.main.operators]
    index = graph.tensor("anchors")
    np.testing.assert_array_equal(file.constant(index), graph.constant(index).reshape(-1))  # type: ignore[union-attr]
    assert file.metadata == read_metadata(metadata_entry(tflite.read_bytes(), METADATA) or b"")


# Protobuf

NAMES = st.text(max_size=20)
NODES = st.builds(
    lambda op, domain, inputs, outputs: onnx.NodeProto(op_type=op, domain=domain, input=inputs, output=outputs),
    NAMES, NAMES, st.lists(NAMES, max_size=3), st.lists(NAMES, max_size=3),
)  # fmt: skip
TENSORS = st.builds(
    lambda name, dims, data: onnx.TensorProto(name=name, dims=dims, raw_data=data, data_type=1),
    NAMES, st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4), st.binary(max_size=200),
)  # fmt: skip


@given(st.lists(NODES, max_size=4), st.lists(TENSORS, max_size=3), st.integers(0, 2**62))
@settings(max_examples=100, deadline=None)
def test_a_message_without_long_arrays_is_parsed_whole(nodes: list, tensors: list, version: int) -> None:  # type: ignore[type-arg]
    model = onnx.ModelProto(ir_version=version, graph=onnx.GraphProto(node=nodes, initializer=tensors))
    found, array_bytes = parse(memoryview(model.SerializeToString()), onnx.ModelProto)
    assert found == model
    assert array_bytes["onnx.TensorProto.raw_data"] == sum(len(tensor.raw_data) for tensor in tensors)


def test_long_arrays_are_counted_and_left_out() -> None:
    tensor = onnx.TensorProto(name="w", dims=[10_000], float_data=[1.0] * 10_000, data_type=1)
    found, array_bytes = parse(memoryview(tensor.SerializeToString()), onnx.TensorProto)
    assert not found.float_data
    assert (found.name, list(found.dims)) == ("w", [10_000])
    assert array_bytes == {"onnx.TensorProto.float_data": 40_000}


def test_weights_are_not_brought_into_memory(tmp_path: Path) -> None:
    size = 200 * 2**20
    head = onnx.TensorProto(name="w", data_type=1, dims=[size // 4]).SerializeToString() + b"\x4a\x80\x80\x80\x64"
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)  # zeros that take no room on the disk
    tracemalloc.start()
    found, array_bytes = parse(map_file(path), onnx.TensorProto)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.name == "w"
    assert array_bytes["onnx.TensorProto.raw_data"] == size
    assert peak_bytes < 2**20


def test_unknown_fields_are_left_out() -> None:
    data = b"\x08\x09" + b"\xfa\x3f\x05later"  # field 1023
    found, _ = parse(memoryview(data), onnx.ModelProto)
    assert found.SerializeToString() == b"\x08\x09"


def test_text_that_is_no_utf8_is_readable() -> None:
    found, _ = parse(memoryview(b"\x0a\x02\xff\xfe"), onnx.OperatorSetIdProto)
    assert found.domain == "\N{REPLACEMENT CHARACTER}" * 2


def test_nesting_and_numbers_of_parts_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx.ModelProto(graph=onnx.GraphProto(node=[onnx.NodeProto()] * 50))
    monkeypatch.setattr(inspect_protobuf, "MAX_PARTS", 40)
    with pytest.raises(ValueError, match="more parts"):
        parse(memoryview(model.SerializeToString()), onnx.ModelProto)
    monkeypatch.setattr(inspect_protobuf, "MAX_DEPTH", 1)
    with pytest.raises(ValueError, match="nested"):
        parse(memoryview(model.SerializeToString()), onnx.ModelProto)


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    try:
        parse(memoryview(data), onnx.ModelProto)
    except ValueError as error:
        assert str(error)  # noqa: PT017 (bytes that can be read are as right)


# Appended archives, shapes, texts


def test_files_behind_a_model_are_read_and_compression_is_told() -> None:
    stream = io.BytesIO(bytes(1000))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("a.txt", "one\n", zipfile.ZIP_STORED)
        archive.writestr("b.txt", "two\n" * 100, zipfile.ZIP_DEFLATED)
    found = appended_files(memoryview(stream.getvalue()))
    assert {name: (file.data, file.compressed) for name, file in found.items()} == {
        "a.txt": (b"one\n", False),
        "b.txt": (b"two\n" * 100, True),
    }
    assert appended_files(memoryview(bytes(1000))) == {}


def test_a_damaged_entry_says_so() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.txt", "text that is long enough")
    data = stream.getvalue().replace(b"long", b"LONG")
    found = appended_files(memoryview(data))["a.txt"]
    assert found.data is None
    assert "CRC" in found.problem


@pytest.mark.parametrize(
    ("shape", "count"), [((), 1), ((2, 3), 6), ((2, 0), 0), ((-1, 4), 0), ((2,) * 16, 2**16), ((2,) * 17, 0)]
)
def test_element_count(shape: tuple[int, ...], count: int) -> None:
    assert element_count(shape) == count


def test_printable_cuts_and_removes_what_steers_a_terminal() -> None:
    assert printable("a\x1b[31mb\n", 3) == "a\N{REPLACEMENT CHARACTER}["
    assert printable("größe") == "größe"
