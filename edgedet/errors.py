"""Errors a user can act on: each says what is wrong, where, and what to do about it."""

from __future__ import annotations


class EdgedetError(Exception):
    """A fault in what the user gave us, never a bug of ours.

    The command line prints it as one line (no traceback unless --debug) and exits with code 1.

    Args:
        what: the fault, naming the file, option or value.
        remedy: what the user can do about it, as an imperative sentence.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}. {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[EdgedetError], tuple[str, str]]:
        """Errors travel between processes; Exception's own way would forget the remedy."""
        return type(self), (self.what, self.remedy)


class ConfigError(EdgedetError):
    """A configuration file or an option holds something that cannot work."""


class DataError(EdgedetError):
    """A data set, an annotation or an image cannot be used."""


class ModelFileError(EdgedetError):
    """A model file is missing, damaged, foreign or of another kind than its name says."""


class ExportError(EdgedetError):
    """A format cannot express what was asked for; raised before any conversion starts."""


class NotRunError(EdgedetError):
    """A part that is not there (runtime, device, data set): the result is "not run", never "passed"."""
