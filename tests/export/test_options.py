import pytest

from edgedet.errors import ExportError
from edgedet.export.options import ExportOptions, choices, flag


def test_the_first_choice_is_the_default() -> None:
    assert choices("tflite_layout")[0] == ExportOptions().tflite_layout == "postprocess"


def test_a_value_that_is_no_choice_is_refused_with_the_choices() -> None:
    with pytest.raises(ExportError, match=r"--coreml-target iOS3.*iOS15, iOS14"):
        ExportOptions(coreml_target="iOS3")


def test_an_option_without_its_format_is_a_problem() -> None:
    options = ExportOptions(tflite_layout="mediapipe-gpu")
    (problem,) = options.problems_of_formats(["onnx", "coreml"])
    assert problem.startswith("--tflite-layout mediapipe-gpu")
    assert options.problems_of_formats(["tflite"]) == []


def test_values_that_differ_from_the_default_name_the_variant() -> None:
    options = ExportOptions(onnx_input="uint8-hwc", tflite_input="uint8", tflite_layout="mediapipe-gpu")
    assert options.variant("tflite") == ("mediapipe-gpu", "uint8")
    assert options.variant("onnx") == ("uint8-hwc",)
    assert options.variant("coreml") == ()
    assert flag("onnx_input") == "--onnx-input"


def test_a_precision_that_measures_ranges_needs_photographs_and_no_other_takes_them() -> None:
    (missing,) = ExportOptions("int8").problems_of_precision(calibrated=False)
    assert "give --calibration DATA" in missing
    assert ExportOptions("int8", float_layers=("stem",)).problems_of_precision(calibrated=True) == []
    (needless,) = ExportOptions("fp16").problems_of_precision(calibrated=True)
    assert "leave --calibration and its options out" in needless
    (method,) = ExportOptions("fp16", calibration_method="entropy").problems_of_precision(calibrated=False)
    assert "measures no ranges" in method
    (layers,) = ExportOptions("fp32", float_layers=("stem",)).problems_of_precision(calibrated=False)
    assert "leave --float-layers out" in layers
    assert ExportOptions("int8-weights").problems_of_precision(calibrated=False) == []


def test_a_method_that_is_no_choice_is_refused() -> None:
    with pytest.raises(ExportError, match="--calibration-method guess"):
        ExportOptions(calibration_method="guess")


def test_integer_options_stand_in_the_name_and_in_the_json_only_where_they_were_chosen() -> None:
    assert ExportOptions("int8").precision_parts() == ()
    mixed = ExportOptions("int8", calibration_method="percentile", float_layers=("stem", "head"))
    assert mixed.precision_parts() == ("percentile", "mixed")
    assert mixed.to_json()["float_layers"] == ["stem", "head"]
    assert mixed.to_json()["calibration_method"] == "percentile"
    assert not {"float_layers", "calibration_method"} & set(ExportOptions("fp16").to_json())
