"""Training configurations: their fields, how a YAML file is read and checked, and the spec that one defines."""

from edgedet.config.augment import AugmentConfig
from edgedet.config.loss import LossConfig
from edgedet.config.priors import AnchorPriors, FitPriors, Priors, PyramidPriors, SsdPriors, TensorFlowPriors
from edgedet.config.read import TRAINED_CODINGS, bundled_names, field_names, load_config
from edgedet.config.schema import Config
from edgedet.config.spec import make_spec, resized_spec
from edgedet.config.training import TrainingConfig

__all__ = [
    "TRAINED_CODINGS", "AnchorPriors", "AugmentConfig", "Config", "FitPriors", "LossConfig", "Priors", "PyramidPriors",
    "SsdPriors", "TensorFlowPriors", "TrainingConfig",
    "bundled_names", "field_names", "load_config", "make_spec", "resized_spec",
]  # fmt: skip
