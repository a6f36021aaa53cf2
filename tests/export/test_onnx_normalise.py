"""1 / std in the weights of the first convolution: the same numbers, or nothing done."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from edgedet.export.onnx_normalise import fold_std

_TEXT = """
<ir_version: 9, opset_import: ["": 18]>
small (float[1,3,6,6] image) => (float[1,4,6,6] y)
<float mean = {{127.5}}, float factor = {{0.5}}, float[3,1,1] three = {{1, 2, 3}}, float one = {{1}}>
{{ {body} }}
"""
_MEAN = "m = Sub (image, mean)"
_STD = "n = Mul (m, factor)"
_STD_ALONE = "n = Mul (image, factor)"


def _conv(data: str, weights: str = "w", output: str = "y") -> str:
    return f"{output} = Conv <pads = [1, 1, 1, 1]> ({data}, {weights})"


def _model(*lines: str, half: bool = False) -> onnx.ModelProto:
    model: onnx.ModelProto = onnx.parser.parse_model(_TEXT.format(body=" ".join(lines)))
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float16 if half else np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return model


def _run(model: onnx.ModelProto) -> npt.NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(1).integers(0, 256, (1, 3, 6, 6)).astype(np.float32)
    found: npt.NDArray[np.float32] = session.run(None, {"image": image})[0]
    return found


def _operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("lines", [(_MEAN, _STD, _conv("n")), (_STD_ALONE, _conv("n"))])
def test_the_division_goes_into_the_weights_and_the_border_stays_what_it_was(lines: tuple[str, ...]) -> None:
    model = _model(*lines)
    before = _run(model)
    fold_std(model.graph, "image")
    assert _operators(model) == (["Sub", "Conv"] if _MEAN in lines else ["Conv"])
    np.testing.assert_allclose(_run(model), before, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "lines",
    [
        (_MEAN, _conv("m")),
        (_MEAN, _STD, "s = Add (n, one)", _conv("s")),
        (_MEAN, "n = Mul (m, three)", _conv("n")),
        (_MEAN, _STD, _conv("n", output="c"), "a = ReduceMean (n)", "y = Add (c, a)"),
        (_MEAN, _STD, _conv("n", output="c"), "a = ReduceMean (w)", "y = Add (c, a)"),
        (_STD_ALONE, _conv("n", output="c"), "a = ReduceMean (image)", "y = Add (c, a)"),
        (_MEAN, _STD, "v = Abs (w)", _conv("n", "v")),
    ],
    ids=["no std", "shifted", "by channel", "read twice", "weights read twice", "image read twice", "made weights"],
)
def test_anything_else_is_left_alone(lines: tuple[str, ...]) -> None:
    model = _model(*lines)
    before = model.SerializeToString()
    _run(model)  # it is a sound graph
    fold_std(model.graph, "image")
    assert model.SerializeToString() == before


def test_half_precision_is_left_alone() -> None:
    """1 / std of a small weight is no normal number in 16 bits."""
    model = _model(_MEAN, _STD, "h = Cast <to = 10> (n)", _conv("h"), half=True)
    before = model.SerializeToString()
    fold_std(model.graph, "image")
    assert model.SerializeToString() == before
