"""The same objects under another list of classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgedet.data.types import Dataset
from edgedet.errors import DataError


def with_classes(dataset: Dataset, class_names: tuple[str, ...]) -> Dataset:
    """A data set whose class ids are indices into a longer list, such as all classes of a tree.

    Args:
        class_names: holds every class of the data set, in any order, and possibly others.

    Raises:
        DataError: a class of the data set is not among them; it is named.
    """
    if dataset.class_names == class_names:
        return dataset
    if unknown := [name for name in dataset.class_names if name not in class_names]:
        raise DataError(
            f"{dataset.root}: its class {unknown[0]!r} is none of the detector's ({', '.join(class_names)})",
            "Correct the label, or train with a tree of classes that holds it.",
        )
    ids = np.array([class_names.index(name) for name in dataset.class_names], dtype=np.int64)
    samples = tuple(
        replace(sample, objects=replace(sample.objects, class_ids=ids[sample.objects.class_ids]))
        for sample in dataset.samples
    )
    return replace(dataset, class_names=class_names, samples=samples)
