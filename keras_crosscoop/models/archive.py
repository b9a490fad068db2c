"""Checks `.keras` files, which may come from untrusted sources, before Keras builds the models that they describe.

Keras's safe mode does not run code from a file, but it builds objects of any Keras class, of any size. These checks
accept only this package's networks and their registered subclasses, with valid options, and only if the networks are no
larger than the weights in the file.
"""

import json
import zipfile
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from keras_crosscoop.errors import InputError, first_failure
from keras_crosscoop.images.reading import ImageReading
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.models.backbones import check_name
from keras_crosscoop.models.connections import Fusion, Site, Topology
from keras_crosscoop.models.crosscoop import CrossCoop, DeepLabV3Plus
from keras_crosscoop.models.segmenter import Segmenter
from keras_crosscoop.models.weights.hdf5 import CONFIG, WEIGHTS, open_keras_file

_MEMBERS = {CONFIG, WEIGHTS, "metadata.json"}
_MAX_DESCRIPTION = 2**20  # bytes; the paper's pair takes 2,000
_MAX_IMAGE = 2**16  # pixels, height and width
_MAX_NUMBER = 1e12  # in the description of an optimizer or loss
_MAX_METRIC_NUMBER = 1000  # lower: the arrays of some metrics grow with the square of an option

_WIDENING = {"alpha", "depth_multiplier"}

_Size = Annotated[int, Field(ge=1, le=_MAX_IMAGE)]
_Rate = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Backbone(_Strict):
    """The options of all backbones. Options that widen a network are bounded: building it takes memory."""

    name: Annotated[str, AfterValidator(check_name)]
    alpha: Annotated[float, Field(gt=0, le=16)] = 1.0
    depth_multiplier: Annotated[int, Field(ge=1, le=16)] = 1
    multi_grid: Annotated[list[Annotated[int, Field(ge=1, le=64)]], Field(min_length=3, max_length=3)] | None = None
    minimalistic: bool | None = None
    dropout: _Rate | None = None
    dropout_rate: _Rate | None = None
    drop_connect_rate: _Rate | None = None

    @property
    def least_bytes(self) -> float:
        """A lower bound on the size of the weights; only MobileNets, which have 1.4 M weights, have these options."""
        return 2 * 1e6 * self.alpha**2 * self.depth_multiplier if self.model_fields_set & _WIDENING else 0


_READING = TypeAdapter(ImageReading)
_AnyBackbone = Annotated[_Backbone, BeforeValidator(lambda value: {"name": value} if isinstance(value, str) else value)]


class _Network(_Strict):
    name: Annotated[str, Field(max_length=200)]
    trainable: bool
    dtype: Literal["float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16"]
    num_classes: Annotated[int, Field(ge=1, le=IGNORE_LABEL)]
    output_stride: Literal[8, 16, 32]
    input_shape: Annotated[tuple[_Size | None, _Size | None, Literal[3]], Field(strict=False)]
    decoder_channels: Annotated[int, Field(ge=1)]
    dropout: Annotated[tuple[_Rate, _Rate, _Rate], Field(strict=False)]
    weights: None = None
    reading: Annotated[
        ImageReading | None, BeforeValidator(lambda value: value and _READING.validate_python(value))
    ] = None


class _Single(_Network):
    backbone: _AnyBackbone


class _Pair(_Network):
    top: _AnyBackbone
    bottom: _AnyBackbone
    topology: Topology
    sites: Annotated[list[Site], Field(max_length=16)]
    fusion: Fusion
    channel_reduction: Annotated[int, Field(ge=1, le=2**16)] = 1


class _BuildConfig(_Strict):
    input_shape: Annotated[list[_Size | None], Field(max_length=4)] | None = None


class _Description(_Strict):
    """The contents of `config.json`."""

    module: str
    class_name: str
    registered_name: str
    config: dict[str, Any]
    build_config: _BuildConfig | None = None
    compile_config: dict[str, Any] | None = None
    shared_object_id: int | None = None


_OPTIONS: dict[type[Segmenter], type[_Network]] = {CrossCoop: _Pair, DeepLabV3Plus: _Single}

_MODULES = {
    "keras": keras,
    "keras.optimizers": keras.optimizers,
    "keras.optimizers.schedules": keras.optimizers.schedules,
    "keras.losses": keras.losses,
    "keras.metrics": keras.metrics,
}
_COMPILED = (  # classes of the arguments of `compile`
    keras.optimizers.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.losses.Loss,
    keras.metrics.Metric,
    keras.DTypePolicy,
)


def check_archive(path: Path) -> None:
    """Refuses a file that does not hold a network of this package, or whose network is larger than its weights.

    Raises:
        InputError: It is not a `.keras` file, holds a model of another package, or describes an impossible network.
    """
    try:
        with open_keras_file(path) as archive:
            if unknown := set(archive.namelist()) - _MEMBERS:
                raise ValueError(f"it has an unknown member {min(unknown)!r}")
            if archive.getinfo(CONFIG).file_size > _MAX_DESCRIPTION:
                raise ValueError("its description is too long")
            content = json.loads(archive.read(CONFIG))
            weights_size = archive.getinfo(WEIGHTS).file_size
        name = content["registered_name"] or content["class_name"]
        model_class = keras.saving.get_registered_object(name)
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile) as error:
        raise InputError(f"The file holds no Keras model that can be loaded ({error}). Received: {path}") from error
    options = next((_OPTIONS[base] for base in getattr(model_class, "__mro__", ()) if base in _OPTIONS), None)
    if options is None:
        raise InputError(f"The file holds a model of another package. Received: {path} ({name})")
    try:
        description = _Description.model_validate(content)
        network = options.model_validate(description.config)
        _check_compiled(description.compile_config, _MAX_NUMBER)
    except ValidationError as error:
        place, message, value = first_failure(error)
        raise _impossible(f"{place or 'the description'}: {message}", value, path) from error
    except _CompileConfigError as error:
        raise _impossible(error.args[0], error.args[1], path) from error
    least_bytes = {f"decoder_channels={network.decoder_channels}": 9 * network.decoder_channels**2 * 2}  # 3x3, float16
    backbones = [value for value in vars(network).values() if isinstance(value, _Backbone)]
    least_bytes |= {f"{backbone.name}, alpha={backbone.alpha}": backbone.least_bytes for backbone in backbones}
    for option, size in least_bytes.items():
        if size > weights_size:
            raise InputError(
                f"The file describes a network that is larger than its weights ({option}). Received: {path}"
            )


class _CompileConfigError(Exception):
    """The compile configuration is refused. The arguments are the reason and the refused value."""


def _check_compiled(value: Any, max_number: float, depth: int = 0) -> None:
    """Refuses classes other than optimizers, losses and metrics, and large numbers, lists and strings.

    Raises:
        _CompileConfigError: Something is refused.
    """
    if isinstance(value, dict):
        if "class_name" in value:
            kind = _class(value)
            if not (isinstance(kind, type) and issubclass(kind, _COMPILED)):
                raise _CompileConfigError("its compile configuration holds an object of another kind", value)
            max_number = _MAX_METRIC_NUMBER if issubclass(kind, keras.metrics.Metric) else max_number
        value = [*value, *value.values()]
    if isinstance(value, list):
        if len(value) > 1000 or depth > 20:
            raise _CompileConfigError("its compile configuration is too long or too deep", len(value))
        for item in value:
            _check_compiled(item, max_number, depth + 1)
    elif isinstance(value, str) and len(value) > 200:
        raise _CompileConfigError("its compile configuration has a string that is too long", value)
    elif isinstance(value, int | float) and not abs(value) <= max_number:  # also refuses NaN
        raise _CompileConfigError(f"its compile configuration has a number beyond {max_number:g}", value)


def _class(item: dict) -> Any:
    """Returns the class that Keras would build: a registered one, or one of Keras's."""
    module, name, registered = (item.get(key) for key in ("module", "class_name", "registered_name"))
    if isinstance(registered, str) and (kind := keras.saving.get_registered_object(registered)):
        return kind
    return getattr(_MODULES[module], name, None) if module in _MODULES and isinstance(name, str) else None


def _impossible(reason: str, value: Any, path: Path) -> InputError:
    return InputError(f"The file describes an impossible network: {reason}. Received: {repr(value)[:80]} in {path}")
