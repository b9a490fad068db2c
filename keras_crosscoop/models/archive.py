"""`.keras` files, looked at before Keras builds what they describe: they may come from anywhere.

Keras's safe mode runs no code out of a file, but takes what memory its description asks for, and builds any of Keras's
own classes. Here a file is one of this package's networks, or of a subclass that the program has registered, of options
that it takes, and no larger than its weights.
"""

import json
import zipfile
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from keras_crosscoop.errors import InputError, first_failure
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.models.backbones import NAMES
from keras_crosscoop.models.connections import Fusion, Site, Topology
from keras_crosscoop.models.crosscoop import CrossCoop, DeepLabV3Plus
from keras_crosscoop.models.segmenter import Segmenter
from keras_crosscoop.models.weights.zipped import CONFIG, WEIGHTS, opened_keras_file

_MEMBERS = {CONFIG, WEIGHTS, "metadata.json"}
_LONGEST = 2**20  # bytes of a description; of the paper's pair it takes 2,000
_LARGEST_IMAGE = 2**16  # pixels, height and width
_GREATEST = 1e12  # number in the description of an optimizer or loss
_GREATEST_OF_METRICS = 1000  # which keep arrays of so many classes or thresholds squared

_WIDENING = ("alpha", "depth_multiplier")

_Size = Annotated[int, Field(ge=1, le=_LARGEST_IMAGE)]
_Rate = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Backbone(_Strict):
    """The options of all backbones. What a network widens is bounded: it takes memory before weights are looked at."""

    name: Literal[NAMES]
    alpha: Annotated[float, Field(gt=0, le=16)] = 1.0
    depth_multiplier: Annotated[int, Field(ge=1, le=16)] = 1
    multi_grid: Annotated[list[Annotated[int, Field(ge=1, le=64)]], Field(min_length=3, max_length=3)] | None = None
    minimalistic: bool | None = None
    dropout: _Rate | None = None
    dropout_rate: _Rate | None = None
    drop_connect_rate: _Rate | None = None

    @property
    def least(self) -> float:
        """Bytes that its weights take at least: the MobileNets, which alone have these options, hold 1.4 M numbers."""
        return 2 * 1e6 * self.alpha**2 * self.depth_multiplier if self.model_fields_set & {*_WIDENING} else 0


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


class _Single(_Network):
    backbone: _AnyBackbone

    @property
    def backbones(self) -> tuple[_Backbone, ...]:
        return (self.backbone,)


class _Pair(_Network):
    top: _AnyBackbone
    bottom: _AnyBackbone
    topology: Topology
    sites: Annotated[list[Site], Field(max_length=16)]
    fusion: Fusion
    channel_reduction: Annotated[int, Field(ge=1, le=2**16)] = 1

    @property
    def backbones(self) -> tuple[_Backbone, ...]:
        return self.top, self.bottom


class _BuildConfig(_Strict):
    input_shape: Annotated[list[_Size | None], Field(max_length=4)] | None = None


class _Description(_Strict):
    """What Keras writes into `config.json`."""

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
_PARTS = (  # what a model is compiled with
    keras.optimizers.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.losses.Loss,
    keras.metrics.Metric,
    keras.DTypePolicy,
)


def check_archive(path: Path) -> None:
    """Refuses a file that is no network of this package, or would take more memory than it has numbers for.

    Raises:
        InputError: it is no `.keras` file, or of another model than this package's, or describes what no network of
            this package has.
    """
    try:
        with opened_keras_file(path) as archive:
            if strange := set(archive.namelist()) - _MEMBERS:
                raise ValueError(f"{min(strange)!r} is in it")
            if archive.getinfo(CONFIG).file_size > _LONGEST:
                raise ValueError("its description is too long")
            described = json.loads(archive.read(CONFIG))
            held = archive.getinfo(WEIGHTS).file_size
        name = described["registered_name"] or described["class_name"]
        kind = keras.saving.get_registered_object(name)
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile) as error:
        raise InputError(f"The file holds no Keras model that can be loaded ({error}). Received: {path}") from error
    options = next((_OPTIONS[base] for base in getattr(kind, "__mro__", ()) if base in _OPTIONS), None)
    if options is None:
        raise InputError(f"The file holds another model than this package's. Received: {path} ({name})")
    try:
        description = _Description.model_validate(described)
        network = options.model_validate(description.config)
        _check_part(description.compile_config, _GREATEST)
    except ValidationError as error:
        place, message, value = first_failure(error)
        raise _impossible(f"{place or 'all of it'}: {message}", value, path) from error
    except _StrangeError as error:
        raise _impossible(error.args[0], error.args[1], path) from error
    least = {
        f"decoder_channels={network.decoder_channels}": 9 * network.decoder_channels**2 * 2
    }  # of a 3x3 convolution, of 2 bytes a number
    least |= {f"{each.name}, alpha={each.alpha}": each.least for each in network.backbones}
    for what, size in least.items():
        if size > held:
            raise InputError(f"The file describes a network that it has no weights of ({what}). Received: {path}")


class _StrangeError(Exception):
    """What is described as a part that a model is compiled with is none: a reason, and what was found."""


def _check_part(value: Any, greatest: float, depth: int = 0) -> None:
    """Refuses what would make Keras build anything beside optimizers, losses and metrics, or these of any size.

    Raises:
        _StrangeError: the reason, and what it is about.
    """
    if isinstance(value, dict):
        if "class_name" in value:
            kind = _kind(value)
            if not (isinstance(kind, type) and issubclass(kind, _PARTS)):
                raise _StrangeError("it is compiled with something that is no optimizer, loss or metric", value)
            greatest = _GREATEST_OF_METRICS if issubclass(kind, keras.metrics.Metric) else greatest
        value = [*value, *value.values()]
    if isinstance(value, list):
        if len(value) > 1000 or depth > 20:
            raise _StrangeError("it is compiled with parts too long or deep", len(value))
        for item in value:
            _check_part(item, greatest, depth + 1)
    elif isinstance(value, str) and len(value) > 200:
        raise _StrangeError("it is compiled with a text too long", value)
    elif isinstance(value, int | float) and not abs(value) <= greatest:  # nor NaN
        raise _StrangeError(f"it is compiled with a number beyond {greatest:g}", value)


def _kind(part: dict) -> Any:
    """The class that Keras would take for a part: of those that are registered, or of Keras's own."""
    module, name, registered = (part.get(key) for key in ("module", "class_name", "registered_name"))
    if isinstance(registered, str) and (kind := keras.saving.get_registered_object(registered)):
        return kind
    return getattr(_MODULES[module], name, None) if module in _MODULES and isinstance(name, str) else None


def _impossible(reason: str, found: Any, path: Path) -> InputError:
    return InputError(f"The file describes a network that cannot be: {reason}. Received: {repr(found)[:80]} in {path}")
