"""Reader: the interface that every annotation format implements, one module a format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from edgedet.data.raw import RawSplit
from edgedet.data.source import Place, Source


class Reader(ABC):
    """Reads the annotations of one data set; it parses each file once, opens no picture and judges nothing.

    Attributes:
        kind: name of the format in DATA's YAML file and in Dataset.kind.
        looks_like: what a folder of this format holds, for messages.
        source: the data set.
        places: split to its place: those the source names, else those found in the standard places.
    """

    kind: ClassVar[str]
    looks_like: ClassVar[str]

    def __init__(self, source: Source) -> None:
        self.source = source
        self.places: Mapping[str, Place] = source.places or self.find_places(source.root)

    @classmethod
    @abstractmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether the folder is laid out as this format's data sets are."""

    @classmethod
    @abstractmethod
    def find_places(cls, root: Path) -> dict[str, Place]:
        """The splits that lie in the standard places below a folder."""

    @classmethod
    def source_of_folder(cls, folder: Path) -> Source:
        """The source a recognised folder is; formats that keep a file of names override this."""
        return Source(folder, folder)

    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """The labels of the whole data set, the same whichever split is read.

        Raises:
            DataError: they cannot be known because an annotation file cannot be parsed.
        """

    @abstractmethod
    def read(self, split: str) -> RawSplit:
        """Everything the annotations say about one split of `places`, faults included."""
