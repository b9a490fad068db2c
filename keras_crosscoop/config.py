"""A run, described: what to train on what, and how. YAML in, validated and frozen settings out."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from keras_crosscoop.errors import InputError, shorten, unknown_name
from keras_crosscoop.system import yaml_files

Backbone = str | dict[str, Any]  # a name, or a mapping of `name` and options such as `alpha`, which `backbones` bounds
Weights = str | None  # "imagenet", a file or nothing


def _no_boolean(value: Any) -> Any:
    """Refuses what Python takes for 0 and 1: `train.ema_decay=false` is no decay of 0."""
    if isinstance(value, bool):
        raise ValueError("it is a number, not true or false")
    return value


_Number = BeforeValidator(_no_boolean)

# Every number has a greatest value, beyond what makes sense, but before TensorFlow fails.
Crop = Annotated[int, Field(ge=1, le=2**14), _Number]  # pixels; smaller images are filled up to it
Window = Annotated[int, Field(ge=1, le=99_999), _Number]  # pixels; of smaller images it is all
Channels = Annotated[int, Field(ge=1, le=4096), _Number]
Images = Annotated[int, Field(ge=1, le=2**16), _Number]
Count = Annotated[int, Field(ge=1, le=10**9), _Number]  # of epochs, steps, ...
Scale = Annotated[float, Field(ge=0.01, le=10), _Number]  # of an image's size
Rate = Annotated[float, Field(ge=0, lt=1), _Number]
Weight = Annotated[float, Field(ge=0, le=1e6), _Number]  # of a part of the loss


def _absolute(path: Path | None) -> Path | None:
    """The same place, wherever a later command is started."""
    return None if path is None else path.expanduser().absolute()


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


class Data(_Section):
    """What is trained on, and how its samples are changed."""

    name: str = "street_scenes"
    dir: Path | None = None
    train_split: str = "train"
    val_split: str = "val"
    on_error: Literal["fail", "skip"] = "fail"  # at a file that cannot be used: end the run, or go on without it
    crop_size: Crop = 513  # pixels, height and width
    scale: tuple[Scale, Scale] = (0.5, 2.0)
    flip: bool = True
    photometric: bool = True

    _found_from_anywhere = field_validator("dir")(_absolute)

    @field_validator("scale")
    @classmethod
    def _ordered(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise ValueError("the least factor comes first")
        return scale

    @property
    def augmentation(self) -> dict[str, Any]:
        """How training samples are changed, as `load_dataset` takes it."""
        return self.model_dump(include={"crop_size", "scale", "flip", "photometric"})


class Model(_Section):
    """What is trained: see `keras_crosscoop.CrossCoop`; without `bottom`, `keras_crosscoop.DeepLabV3Plus`."""

    top: Backbone = "xception65"
    bottom: Backbone | None = "resnet101"
    topology: Literal["none", "one_way", "cross"] = "cross"
    sites: tuple[Literal["backbone", "aspp", "aspp_output", "decoder"], ...] = (
        "backbone",
        "aspp",
        "aspp_output",
        "decoder",
    )
    fusion: Literal["concat", "add"] = "concat"
    channel_reduction: Channels = 1  # a network reads one channel in so many of its partner's; 1 for the paper's method
    output_stride: Literal[8, 16, 32] = 16
    decoder_channels: Channels = 256
    dropout: tuple[Rate, Rate, Rate] = (0.5, 0.5, 0.1)
    weights: dict[str, Weights] | Weights = "imagenet"

    @field_validator("top", "bottom")
    @classmethod
    def _named(cls, backbone: Backbone | None) -> Backbone | None:
        if isinstance(backbone, dict) and "name" not in backbone:
            raise ValueError("a backbone is a name, or a mapping of `name` and options")
        return backbone

    @field_validator("bottom", "weights", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        """Where YAML has null, the command line has "none"."""
        if isinstance(value, Mapping):
            return {key: cls._none(item) for key, item in value.items()}
        return None if value == "none" else value

    @field_validator("weights")
    @classmethod
    def _found_from_anywhere(cls, weights: Weights | dict[str, Weights]) -> Weights | dict[str, Weights]:
        if isinstance(weights, dict):
            if set(weights) != {"top", "bottom"}:
                raise ValueError("it must name top and bottom, or be one for both")
            return {side: cls._found_from_anywhere(of_side) for side, of_side in weights.items()}
        return weights if weights in (None, "imagenet") else str(Path(weights).expanduser().absolute())

    @property
    def architecture(self) -> dict[str, Any]:
        """Which network it is: all but the weights that it begins with, and what only its training depends on."""
        return self.model_dump(exclude={"weights", "dropout"})

    @property
    def weights_of_sides(self) -> dict[str, Weights]:
        """The pretrained weights of "top" and "bottom", also where one setting stands for both."""
        return self.weights if isinstance(self.weights, dict) else dict.fromkeys(("top", "bottom"), self.weights)


class Train(_Section):
    """How it is trained."""

    init_from: Path | None = None  # an earlier run or file of weights to start from, as far as it fits
    init_from_needs_backbone: bool = True  # whether `init_from` must fill at least one backbone whole
    batch_size: Images = 6  # of all devices together
    accumulation_steps: Images = 1  # parts that each device computes its share of a batch in, one after another
    epochs: Count = 50
    learning_rate: Annotated[float, Field(gt=0, le=1000), _Number] = 0.007  # of the backbones, at the first step
    head_lr_multiplier: Annotated[float, Field(gt=0, le=1e6), _Number] = (
        10.0  # of the learning rate, for everything else
    )
    poly_power: Annotated[float, Field(ge=0, le=100), _Number] = 0.9  # of the learning rate's polynomial decay to zero
    warmup_steps: Annotated[int, Field(ge=0, le=10**9), _Number] = 0  # steps in which the learning rate rises
    momentum: Rate = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=1000), _Number] = 5e-4
    decoupled_weight_decay: bool = False  # weight decay apart from the gradient
    clip_norm: Annotated[float, Field(gt=0, le=1e9), _Number] | None = (
        None  # the greatest norm of all gradients together
    )
    ema_decay: Rate | None = None  # decay of the moving average of weights that is measured and kept; None for none
    batch_norm: Literal["train", "frozen", "sync"] = "sync"  # by each device's images; by none; by those of all devices
    remat: bool = False  # compute activations again in the backward pass instead of keeping them
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16", "auto"] = "float32"
    strategy: Literal["auto", "none", "mirrored", "multiworker"] = "auto"
    deterministic: bool | None = None  # the same bits each time; None for on CPUs, where it costs little
    steps_per_execution: Annotated[int, Field(ge=1, le=10_000), _Number] = 1
    jit_compile: bool = False
    validate_every: Count = 1  # epochs
    patience: Count | None = None  # validations without a better one after which training ends
    save_every: str | Count = "10min"  # steps, or minutes, between checkpoints
    profile: bool = False  # some steps, for TensorBoard
    seed: Annotated[int, Field(ge=0, lt=2**31), _Number] = 0

    _found_from_anywhere = field_validator("init_from")(_absolute)

    @field_validator("save_every", mode="before")
    @classmethod
    def _minutes(cls, every: Any) -> str | int:
        text = str(every)
        number = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?) ?min", text)
        if not number or not 0 < float(number[1] or number[2]) <= 10**9:
            raise ValueError('it is a number of steps, such as 500, or of minutes, such as "10min", at most 10^9')
        return int(text) if text.isdecimal() else text

    @property
    def save_interval(self) -> dict[str, float]:
        """`save_every` as `{"steps": n}` or `{"seconds": n}`."""
        if isinstance(self.save_every, int):
            return {"steps": self.save_every}
        return {"seconds": 60 * float(self.save_every.removesuffix("min"))}


class Loss(_Section):
    """What is minimised: the sum of this loss over both outputs. See `keras_crosscoop.losses`."""

    weights: dict[Literal["top", "bottom", "single"], Weight] = {}  # of the outputs in the sum; 1 for others
    class_weights: dict[str, Weight] | None = None  # by name; 1 for others
    label_smoothing: Rate = 0.0
    focal_gamma: Annotated[float, Field(ge=0, le=100), _Number] = 0.0  # gamma of the focal loss; 0 for cross-entropy
    hard_pixel_fraction: Annotated[float, Field(ge=1e-4, le=1), _Number] = (
        1.0  # share of an image's pixels, the hardest, that count
    )
    dice_weight: Weight = 0.0  # how much Dice loss is added


class Evaluation(_Section):
    """How it is measured."""

    crop: Crop | None = None  # the middle of each image, pixels; None for whole images
    window: Window | None = None  # what the networks see at once of an image too large for the memory, pixels


class Ablation(_Section):
    """What `ablate` compares, see `keras_crosscoop.ablation.rows`; no run depends on it."""

    rows: Annotated[tuple[str, ...], Field(min_length=1)] = ("all",)  # or "table1", "table5", or rows by name
    seeds: Annotated[int, Field(ge=1, le=1000), _Number] = 3  # trainings of each row


_BACKBONES = (".model.top", ".model.bottom")
_DOTS = 10  # of a setting's name; more than any has


class Settings(_Section):
    """Everything that a run depends on."""

    data: Data = Data()
    model: Model = Model()
    train: Train = Train()
    loss: Loss = Loss()
    evaluation: Evaluation = Evaluation()
    ablation: Ablation = Ablation()

    def with_precision(self, name: str) -> "Settings":
        """The same settings in another precision."""
        return self.model_copy(update={"train": self.train.model_copy(update={"precision": name})})

    def with_weights(self, **of_sides: str | None) -> "Settings":
        """The same settings with other pretrained weights for "top" or "bottom"; None leaves a side's as they are."""
        given = {side: weights for side, weights in of_sides.items() if weights is not None}
        if not given:
            return self
        if self.model.bottom is None and "bottom" in given:
            raise InputError(f"There is no bottom network to have weights. Received: {given['bottom']!r}")
        return settings(self.model_dump(), {"model": {"weights": {**self.model.weights_of_sides, **given}}})


def settings(*layers: Mapping[str, Any]) -> Settings:
    """Settings from nested mappings, each overriding the ones before it.

    Raises:
        InputError: a setting that does not exist, or a value that it cannot have.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, section in layer.items():
            if name in Settings.model_fields and not isinstance(section, Mapping | BaseModel):
                raise InputError(
                    f"Section {name} holds settings, such as {name}.NAME=VALUE. Received: {shorten(section)}"
                )
        merged = _merge(merged, layer)
    try:
        validated = Settings.model_validate(merged)
    except ValidationError as error:
        raise _input_error(error) from error
    _check_loss_weights(validated)
    return validated


def read(path: Path) -> dict[str, Any]:
    """A YAML file of settings, for `settings`.

    Raises:
        InputError: the file is missing or no YAML mapping.
    """
    try:
        content = yaml_files.read(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The config cannot be read. Is the path right? Received: {path}") from error
    except ValueError as error:
        raise InputError(f"The config is no valid YAML ({error}). Received: {path}") from error
    if not isinstance(content, dict):
        raise InputError(f"A config must hold sections such as data, model and train. Received: {path}")
    return content


def parse(assignment: str) -> dict[str, Any]:
    """`train.epochs=3` as a nested mapping; the value is read as YAML.

    Raises:
        InputError: there is no `=`, or the value is no YAML.
    """
    key, equals, value = assignment.partition("=")
    if not (key and equals) or key.count(".") > _DOTS:
        raise InputError(
            f"A setting is given as section.key=value, such as train.epochs=3. Received: {shorten(assignment)}"
        )
    try:
        parsed = yaml_files.load(value)
    except ValueError as error:
        raise InputError(
            f"The value is no valid YAML ({error}); quote text. Received: {shorten(assignment)}"
        ) from error
    return nest(key, parsed)


def nest(key: str, value: Any) -> dict[str, Any]:
    """`{"train": {"epochs": 3}}` for "train.epochs" and 3."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def dump(settings: Settings) -> str:
    """The settings of a run as YAML that `read` takes back."""
    return yaml.safe_dump(plain(settings), sort_keys=False)


def plain(settings: Settings) -> dict[str, Any]:
    """All that a run depends on, as JSON has it."""
    return settings.model_dump(mode="json", exclude={"ablation"})


def _check_loss_weights(settings: Settings) -> None:
    sides, weights = ("single",) if settings.model.bottom is None else ("top", "bottom"), settings.loss.weights
    # A weight of 1 changes nothing; configurations of runs by the first version name top and bottom always.
    if strange := {side for side, weight in weights.items() if side not in sides and weight != 1}:
        raise unknown_name("output for setting loss.weights", min(strange), sides)
    if not any(weights.get(side, 1.0) for side in sides):
        raise InputError(f"Setting loss.weights must not be all 0, or nothing is learnt. Received: {weights}")


def _merge(below: Any, above: Any, name: str = "") -> Any:
    if name in _BACKBONES and isinstance(below, str):
        below = {"name": below}
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    if name in _BACKBONES and above.get("name", below.get("name")) != below.get("name"):
        return above  # the options below are of another backbone
    return {**below, **{key: _merge(below.get(key), value, f"{name}.{key}") for key, value in above.items()}}


def _input_error(error: ValidationError) -> InputError:
    first = error.errors()[0]
    parents = first["loc"][:-1]
    if first["type"] == "extra_forbidden":
        section: Any = Settings
        for parent in parents:
            section = section.model_fields[parent].annotation
        names = [".".join(map(str, (*parents, name))) for name in section.model_fields]
        return unknown_name("setting", ".".join(map(str, first["loc"])), names)
    subject = ".".join(
        str(part) for part in first["loc"] if part not in ("str", "[key]", "dict[str,any]", "dict[str,nullable[str]]")
    )
    if first["type"] == "literal_error":
        choices = re.findall(r"\w+", first["ctx"]["expected"].replace(" or ", " "))
        return InputError(f"Setting {subject} is one of {', '.join(choices)}. Received: {shorten(first['input'])}")
    return InputError(
        f"Setting {subject}: {first['msg'].removeprefix('Value error, ')}. Received: {shorten(first['input'])}"
    )
