"""The fields of a training configuration, their defaults and what each means.

The parts that describe the detector itself (network, input, coding, nms) are the spec's own dataclasses, so that each
of their fields is declared once, in edgedet.spec.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

import pydantic
from pydantic import Field, PrivateAttr

from edgedet.class_tree import ClassTree, tree_of
from edgedet.config.augment import AugmentConfig
from edgedet.config.loss import LossConfig
from edgedet.config.part import Part
from edgedet.config.priors import Priors
from edgedet.config.qat import QatConfig
from edgedet.config.training import TrainingConfig
from edgedet.errors import ConfigError
from edgedet.spec import CodingSpec, InputSpec, NetworkSpec, NmsSpec


class Config(Part):
    """Everything about a training run but the data and the folder it writes to.

    Attributes:
        classes: the tree of classes, as nested names or the path of a YAML file of them (edgedet.class_tree); null for
            the data set's own classes, which are no tree. Every label of the data set must be one of its classes.
    """

    name: Annotated[str, Field(min_length=1)]
    network: NetworkSpec
    input: InputSpec
    priors: Priors
    coding: CodingSpec
    nms: NmsSpec = NmsSpec()
    classes: Any = None
    loss: LossConfig = LossConfig()
    training: TrainingConfig
    augment: AugmentConfig = AugmentConfig()
    qat: QatConfig = QatConfig()
    _tunes_integers: bool = PrivateAttr(default=False)

    def for_qat(self) -> Config:
        """The configuration of a quantization-aware run: `training` with what `qat` says.

        Raises:
            ConfigError: the two contradict each other.
        """
        values = self.training.model_dump() | self.qat.training_fields
        try:
            training = TrainingConfig.model_validate(values)
        except pydantic.ValidationError as error:
            reason = str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
            raise ConfigError(
                f"{self.name}: training does not suit --qat: {reason}", "Change it with --set."
            ) from error
        config = self.model_copy(update={"training": training})
        config._tunes_integers = True
        return config

    @property
    def tree(self) -> ClassTree | None:
        """`classes`, where it is given."""
        return None if self.classes is None else tree_of(self.classes, f"{self.name}: classes")

    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of all fields that change what a run computes."""
        value = self.model_dump(mode="json")
        for name in ("workers", "cache_mb", "eval_every", "val_split", "keep", "patience", "min_delta"):
            del value["training"][name]
        if not self._tunes_integers:
            del value["qat"]
        value["training"]["keep"] = self.training.keeps_best  # a run that kept the last epochs has lost its best one
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
