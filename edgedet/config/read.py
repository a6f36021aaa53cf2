"""Reading a training configuration: YAML file plus `--set` changes, checked field by field."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import pydantic
import yaml
from pydantic import BaseModel

from edgedet.class_tree import ClassTree, read_tree_file
from edgedet.config.augment import RECIPE_FIELDS
from edgedet.config.loss import check_loss
from edgedet.config.priors import Priors
from edgedet.config.schema import Config
from edgedet.config.sizes import training_inputs
from edgedet.errors import ConfigError
from edgedet.models import feature_grids_hw, head_of
from edgedet.spec import TREE_SCORES, DetectorSpec, LevelSpec

_BUNDLED = "edgedet.configs"
# (CodingSpec.kind, CodingSpec.score) that there is a loss for: the keys of edgedet.training.losses.LOSSES.
TRAINED_CODINGS = (
    ("ssd", "softmax_bg0"),
    ("ssd", "sigmoid"),
    ("ssd", "softmax_tree"),
    ("yolo", "obj_times_cls"),
    ("yolo", "obj_times_softmax"),
    ("yolo", "obj_times_tree"),
    ("yolo_v1", "linear_obj_times_cls"),
)
_UNKNOWN_FIELD = ("extra_forbidden", "unexpected_keyword_argument")  # pydantic's names of that fault


def bundled_names() -> tuple[str, ...]:
    """Names of the configurations that come with edgedet."""
    return tuple(sorted(f.name.removesuffix(".yaml") for f in files(_BUNDLED).iterdir() if f.name.endswith(".yaml")))


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration.

    Args:
        path: a YAML file, or the name of a bundled configuration ("ssdlite_mobilenet_v2").
        overrides: "part.field=value" each, the value in YAML.

    Raises:
        ConfigError: naming file, field, value and remedy.
    """
    source, text = _read(path)
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{source}: not readable as YAML ({reason})", "Mend the file; bundled ones show the form."
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: holds no fields", f"Start from a bundled one: {', '.join(bundled_names())}.")
    for override in overrides:
        _apply(values, override)
    if isinstance(values.get("classes"), str):
        values["classes"] = _tree_file(values["classes"], Path(path).parent)
    try:
        config = Config.model_validate(values)
    except pydantic.ValidationError as error:
        raise _config_error(source, error, overrides) from error
    _check(config, source)
    return config


def field_names(part: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """Every dotted name that `--set` can change."""
    for name, field in part.model_fields.items():
        yield prefix + name
        for kind in _kinds(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from field_names(kind, f"{prefix}{name}.")
            elif hasattr(kind, "__dataclass_fields__"):
                yield from (f"{prefix}{name}.{inner}" for inner in kind.__dataclass_fields__)


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_args(annotation) else (annotation,)


def _read(path: str | Path) -> tuple[str, str]:
    """(what to call it, text) of a file or of a bundled configuration."""
    file = Path(path)
    try:
        if file.is_file():
            return str(file), file.read_text(encoding="utf-8")
        if str(path) in bundled_names():
            return f"{path}.yaml", files(_BUNDLED).joinpath(f"{path}.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error})", "Give a YAML file in UTF-8.") from error
    raise ConfigError(
        f"{file}: there is no such configuration", f"Give a YAML file or one of {', '.join(bundled_names())}."
    )


def _tree_file(name: str, folder: Path) -> object:
    """What the YAML file of a tree holds; its path is relative to the working directory or to the configuration."""
    beside = folder / name
    return read_tree_file(Path(name) if Path(name).is_file() or not beside.is_file() else beside)


def _apply(values: dict[str, Any], override: str) -> None:
    """Put one "a.b=c" into nested values; a new kind of priors starts without the old kind's fields."""
    path, equals, text = override.partition("=")
    names = tuple(dict.fromkeys(field_names()))
    if not equals or not path:
        raise ConfigError(f"--set {override}: no field and value", "Write it as --set training.lr=0.001.")
    if path not in names:
        raise ConfigError(f"--set {override}: there is no field {path}", _nearest(path, names))
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"--set {override}: the value is not readable as YAML", "Quote it, or check brackets."
        ) from error
    *parents, last = path.split(".")
    for parent in parents:
        inner = values.get(parent)
        if not isinstance(inner, dict):
            inner = values[parent] = {}
        values = inner
    if path == "priors.kind" and values.get("kind") != value:
        values.clear()
    values[last] = value
    if path == "augment.recipe":  # another recipe starts without the fields of the old one
        for name in set().union(*(names for recipe, names in RECIPE_FIELDS.items() if recipe != value)):
            values.pop(name, None)
    # The two ways to say how long a run is exclude each other; the one asked for last counts.
    rivals = {
        f"{part}.{a}": b for part in ("training", "qat") for a, b in (("epochs", "minutes"), ("minutes", "epochs"))
    }
    if path in rivals and value is not None:
        values.pop(rivals[path], None)


def _nearest(path: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(path, names, n=3, cutoff=0.5)
    last = path.rsplit(".", 1)[-1]
    close += [n for n in names if n.rsplit(".", 1)[-1] == last and n not in close]
    return (
        f"Did you mean {' or '.join(close[:4])}?"
        if close
        else f"Fields: {', '.join(n for n in names if '.' not in n)}."
    )


def _config_error(source: str, error: pydantic.ValidationError, overrides: Sequence[str]) -> ConfigError:
    """One fault, in one line: a misspelt field rather than the one that is missing because of it."""
    faults = error.errors(include_url=False)
    first = next((fault for fault in faults if fault["type"] in _UNKNOWN_FIELD), faults[0])
    kinds = [get_args(kind.model_fields["kind"].annotation)[0] for kind in _kinds(get_args(Priors)[0])]
    parts = [
        str(part)
        for k, part in enumerate(first["loc"])
        if not (k == 1 and first["loc"][0] == "priors" and part in kinds)
    ]
    field = ".".join(parts)
    where = f"{source}{' with --set' if any(field.startswith(o.split('=')[0]) for o in overrides) else ''}"
    if first["type"] in _UNKNOWN_FIELD:
        return ConfigError(f"{where}: there is no field {field}", _nearest(field, tuple(dict.fromkeys(field_names()))))
    if first["type"] in ("missing", "missing_argument"):
        return ConfigError(f"{where}: {field} is missing", "Add it; the bundled configurations show the form.")
    message = first["msg"].removeprefix("Value error, ")
    given = first["input"]
    shown = "" if isinstance(given, Mapping) else f" is {given!r}"
    return ConfigError(f"{where}: {field}{shown}", f"{message[:1].upper()}{message[1:]}.")


def _check(config: Config, source: str) -> None:
    """What no single field can tell: levels that the network has, and a coding that there is a loss for."""
    try:
        grids = feature_grids_hw(config.network, config.input, config.priors.num_levels)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error.what}", error.remedy) from error
    placeholder = tuple(LevelSpec((1.0, 1.0), h, w, ((1.0, 1.0),)) for h, w in grids)
    tree = config.tree or ClassTree(("any",), ())
    spec = DetectorSpec(
        config.name, config.network, config.input, placeholder, config.coding, config.nms, tree.names,
        class_parents=tree.parents,
    )  # fmt: skip
    if problems := spec.problems():
        raise ConfigError(f"{source}: {problems[0]}", "Change that field.")
    if (config.coding.kind, config.coding.score) not in TRAINED_CODINGS:
        raise ConfigError(
            f"{source}: coding.score is {config.coding.score!r} under coding.kind {config.coding.kind!r}",
            f"Training knows {', '.join(f'{k} with {s}' for k, s in TRAINED_CODINGS)}.",
        )
    check_loss(config.coding, config.loss, source)
    _check_sizes(config, source)
    if config.training.image_label_share and config.coding.score not in TREE_SCORES:
        raise ConfigError(
            f"{source}: training.image_label_share is {config.training.image_label_share}, but coding.score "
            f"{config.coding.score!r} learns from boxes only",
            f"Set it to 0, or use coding.score {' or '.join(TREE_SCORES)} with a tree of `classes`.",
        )


def _check_sizes(config: Config, source: str) -> None:
    """Whether the network can be trained at all the sizes of `augment.multi_scale`."""
    if config.augment.multi_scale is None:
        return
    field = f"{source}: augment.multi_scale is {list(config.augment.multi_scale)}"
    if head_of(config.network).fixed_size:
        raise ConfigError(
            f"{field} under head {config.network.head!r}", "Its weights fit one input size: leave it out."
        )
    if getattr(config.priors, "strides_px", None):
        raise ConfigError(f"{field}, and priors.strides_px are for one input size", "Leave one of them out.")
    grids = set()
    inputs = training_inputs(config.augment, config.input)
    for image in inputs:
        try:
            grids.add(feature_grids_hw(config.network, image, config.priors.num_levels)[0])
        except ConfigError as error:
            raise ConfigError(f"{field}: {error.what}", error.remedy) from error
    if len(grids) < len(inputs):
        step = config.augment.multi_scale_step_px
        raise ConfigError(f"{field} in steps of {step} px, which give one grid twice", "Take steps of 32 px.")
