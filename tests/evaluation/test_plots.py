"""Pictures for reports: they are drawn, self-contained and repeatable."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from edgedet.evaluation import Confusion, EvalResult, evaluate_detections
from edgedet.evaluation.plots import confusion_figure, precision_recall_figure, to_png, to_svg
from tests.evaluation.cases import Hit, Thing, dataset, detections, spot


def result() -> EvalResult:
    data = dataset([[Thing(spot(0), 0), Thing(spot(1), 1)]], ("cat", "dog", "never & seen"))
    return evaluate_detections(data, detections([[Hit(spot(0), 0.9, 0), Hit(spot(5), 0.8, 1), Hit(spot(1), 0.7, 1)]]))


def test_curves_name_the_classes_that_have_objects() -> None:
    axes = precision_recall_figure(result()).axes[0]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["cat (AP 1.000)", "dog (AP 0.500)"]


def test_several_files_side_by_side() -> None:
    figure = precision_recall_figure({"model.pt": result(), "model.onnx": result()})
    assert [axes.get_title() for axes in figure.axes] == ["model.pt", "model.onnx"]


def test_a_class_that_was_never_detected_is_a_curve_without_points() -> None:
    data = dataset([[Thing(spot(0), 0), Thing(spot(1), 1)]], ("cat", "dog"))
    figure = precision_recall_figure(evaluate_detections(data, detections([[Hit(spot(0), 0.9, 0)]])))
    assert [len(line.get_xdata()) for line in figure.axes[0].get_lines()] == [2, 0]


def test_the_matrix_shows_counts() -> None:
    figure = confusion_figure(Confusion(np.array([[7, 1], [2, 0]]), ("cat",), 0.5, 0.3))
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["1", "2", "7"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["cat", "background"]


def test_a_class_no_one_looked_for_draws_an_empty_figure() -> None:
    empty = evaluate_detections(dataset([[]]), detections([[]]))
    assert to_svg(precision_recall_figure(empty)).startswith("<svg")


def test_svg_is_self_contained_and_the_same_each_time() -> None:
    first, second = (to_svg(confusion_figure(result().confusion)) for _ in range(2))
    assert first == second
    assert first.startswith("<svg")
    ElementTree.fromstring(first)


def test_png() -> None:
    image = Image.open(io.BytesIO(to_png(confusion_figure(result().confusion))))
    assert image.format == "PNG"
    assert image.width > 200
