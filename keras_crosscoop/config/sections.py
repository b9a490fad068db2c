"""The sections of settings: names, types, defaults and bounds."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from keras_crosscoop.models.connections import SITES, Fusion, Site, Topology

Backbone = str | dict[str, Any]  # a name, or a mapping of `name` and options such as `alpha`
InitialWeights = str | None  # "imagenet", a file, or None for random weights


def _no_boolean(value: Any) -> Any:
    """Refuses true and false, which pydantic would convert to 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("it is a number, not true or false")
    return value


_Number = BeforeValidator(_no_boolean)

# Every number has an upper bound, above sensible values and below values at which TensorFlow fails.
Crop = Annotated[int, Field(ge=1, le=2**14), _Number]  # pixels
Window = Annotated[int, Field(ge=1, le=99_999), _Number]  # pixels
Channels = Annotated[int, Field(ge=1, le=4096), _Number]
Images = Annotated[int, Field(ge=1, le=2**16), _Number]
Count = Annotated[int, Field(ge=1, le=10**9), _Number]
Scale = Annotated[float, Field(ge=0.01, le=10), _Number]
Rate = Annotated[float, Field(ge=0, lt=1), _Number]
Share = Annotated[float, Field(ge=0, le=1), _Number]
Weight = Annotated[float, Field(ge=0, le=1e6), _Number]


def _depends_on(choice: str, **defaults: Any) -> Any:
    """Returns the field of a setting whose default depends on a setting before it.

    Where there is no default, the setting has no effect, and is None.
    """
    return Field(
        default_factory=lambda earlier: defaults.get(earlier.get(choice)), json_schema_extra={"depends_on": choice}
    )


def _absolute(path: Path | None) -> Path | None:
    """Makes a path absolute, so that a run can be used from another folder."""
    return None if path is None else path.expanduser().absolute()


def _seconds(time: str) -> float:
    """Returns "1h30min" in seconds; 0 if it is no such time."""
    number = r"(\d+(?:\.\d+)?)"
    match = re.fullmatch(rf"(?:{number}h)?(?:{number}min)?(?:{number}s)?", time.replace(" ", ""))
    hours, minutes, seconds = (float(count or 0) for count in match.groups()) if match else (0, 0, 0)
    return 3600 * hours + 60 * minutes + seconds


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


class Data(_Section):
    """The data set and its augmentation."""

    name: str = "street_scenes"  # see `crosscoop-tf data list`
    dir: Path | None = None  # folder of the data set; None for the default one
    train_split: str = "train"
    val_split: str = "val"
    on_error: Literal["fail", "skip"] = "fail"  # whether an unusable file ends the run or is skipped
    check: bool = True  # refuse labels that would make training meaningless, see `data check`
    crop_size: Crop = 513  # height and width of training crops, in pixels; smaller images are padded
    scale: tuple[Scale, Scale] = (0.5, 2.0)  # range of random scale factors
    flip: bool = True  # mirror half of the training images
    rotation: Annotated[float, Field(ge=0, le=45), _Number] = 0.0  # largest angle of random rotations, in degrees
    orientation: Literal["upright", "any"] = "upright"  # "any" also turns images by quarter turns
    photometric: Literal["none", "weak", "strong"] = "weak"  # random changes of colours, sharpness and noise
    mix: Literal["none", "cutmix", "classmix"] = "none"  # paste parts of a second sample into half of all samples
    rare_classes: Share = 0.0  # share of training samples that are drawn to show a rare class

    _make_absolute = field_validator("dir")(_absolute)

    @field_validator("scale")
    @classmethod
    def _check_order(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise ValueError("the smaller factor must come first")
        return scale

    @property
    def augmentation(self) -> dict[str, Any]:
        """The arguments of `load_dataset` that change training samples."""
        names = {"crop_size", "scale", "flip", "rotation", "orientation", "photometric", "mix", "rare_classes"}
        return self.model_dump(include=names)


class Model(_Section):
    """The network: `keras_crosscoop.CrossCoop`, or, if `bottom` is None, `keras_crosscoop.DeepLabV3Plus`."""

    top: Backbone = "xception65"
    bottom: Backbone | None = "resnet101"  # None for a single network
    topology: Topology = "cross"  # which network reads its partner's features: both, the bottom one, none
    sites: tuple[Site, ...] = SITES  # where the networks are connected
    fusion: Fusion = "concat"
    channel_reduction: Channels = 1  # reduces the partner's channels by this factor before they are read
    output_stride: Literal[8, 16, 32] = 16
    decoder_channels: Channels = 256  # of ASPP and decoder
    dropout: tuple[Rate, Rate, Rate] = (0.5, 0.5, 0.1)  # after ASPP, and in the decoder
    weights: dict[str, InitialWeights] | InitialWeights = "imagenet"  # of both backbones, or {top: ..., bottom: ...}

    @field_validator("top", "bottom")
    @classmethod
    def _check_name(cls, backbone: Backbone | None) -> Backbone | None:
        if isinstance(backbone, dict) and "name" not in backbone:
            raise ValueError("a backbone is a name, or a mapping of `name` and options")
        return backbone

    @field_validator("bottom", "weights", mode="before")
    @classmethod
    def _none_to_null(cls, value: Any) -> Any:
        """Converts "none", which stands for YAML's null on the command line."""
        if isinstance(value, Mapping):
            return {key: cls._none_to_null(item) for key, item in value.items()}
        return None if value == "none" else value

    @field_validator("weights")
    @classmethod
    def _make_absolute(
        cls, weights: InitialWeights | dict[str, InitialWeights]
    ) -> InitialWeights | dict[str, InitialWeights]:
        if isinstance(weights, dict):
            if not set(weights) <= {"top", "bottom"}:
                raise ValueError("it must name top or bottom, or be one value for both")
            return {side: cls._make_absolute(weights.get(side, "imagenet")) for side in ("top", "bottom")}
        return weights if weights in (None, "imagenet") else str(_absolute(Path(weights)))

    @property
    def sides(self) -> tuple[str, ...]:
        """The names of the networks, see `Segmenter.sides`."""
        return ("single",) if self.bottom is None else ("top", "bottom")

    @property
    def architecture(self) -> dict[str, Any]:
        """The settings that define the network; initial weights and dropout do not."""
        return self.model_dump(exclude={"weights", "dropout"})

    @property
    def weights_of_sides(self) -> dict[str, InitialWeights]:
        """The initial weights of "top" and "bottom", also if one setting applies to both."""
        return self.weights if isinstance(self.weights, dict) else dict.fromkeys(("top", "bottom"), self.weights)


class Train(_Section):
    """The training: see docs/training.md."""

    init_from: Path | None = None  # an earlier run, or a file of weights, from which all matching layers start
    init_from_needs_backbone: bool = True  # refuse an `init_from` that fills no backbone completely
    batch_size: Images = 6  # images per step, over all devices
    accumulation_steps: Images = 1  # compute each batch in this many parts, to save memory
    epochs: Count = 50
    steps_per_epoch: Count | None = None  # None: as many as see each image about once
    time: str | None = None  # such as "30min": the number of steps and validations fits into it, see docs/training.md
    optimizer: Literal["sgd", "adamw"] = "sgd"
    # AdamW's rate and decay are SegNeXt's (Guo et al., NeurIPS 2022). It has a convolutional backbone with ImageNet
    # weights, a ten times larger rate in the head, and no decay of normalisation.
    learning_rate: Annotated[float, Field(gt=0, le=1000), _Number] = _depends_on("optimizer", sgd=0.007, adamw=6e-5)
    head_lr_multiplier: Annotated[float, Field(gt=0, le=1e6), _Number] = 10.0  # for all layers outside the backbones
    schedule: Literal["poly", "cosine"] = "poly"  # decay of the learning rate to zero
    poly_power: Annotated[float, Field(ge=0, le=100), _Number] | None = _depends_on("schedule", poly=0.9)  # exponent
    warmup_steps: Annotated[int, Field(ge=0, le=10**9), _Number] = 0  # steps of a linear warm-up
    momentum: Rate | None = _depends_on("optimizer", sgd=0.9)
    weight_decay: Annotated[float, Field(ge=0, le=1000), _Number] = _depends_on("optimizer", sgd=5e-4, adamw=0.01)
    decoupled_weight_decay: bool | None = _depends_on("optimizer", sgd=False)  # apart from the gradient (SGDW)
    clip_norm: Annotated[float, Field(gt=0, le=1e9), _Number] | None = None  # bound of the global gradient norm
    ema_decay: Rate | None = None  # evaluate and keep a moving average of the weights with this decay
    batch_norm: Literal["train", "frozen", "sync"] = "sync"  # statistics of each device's images, none, all devices'
    remat: bool = False  # recompute the backbones' activations in the backward pass, to save memory
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16", "auto"] = "float32"
    strategy: Literal["auto", "none", "mirrored", "multiworker"] = "auto"  # one device, all GPUs, several machines
    deterministic: bool | None = None  # compute the same bits in every run; None: only on CPUs
    steps_per_execution: Annotated[int, Field(ge=1, le=10_000), _Number] = 1  # steps between returns to Python
    jit_compile: bool = False  # compile the step with XLA
    validate_every: Count = 1  # epochs between validations
    patience: Count | None = None  # stop after this many validations without improvement
    save_every: str | Count = "10min"  # steps, such as 500, or minutes, such as "10min", between checkpoints
    profile: bool = False  # profile five steps for TensorBoard
    seed: Annotated[int, Field(ge=0, lt=2**31), _Number] = 0

    _make_absolute = field_validator("init_from")(_absolute)

    @field_validator("time", mode="before")
    @classmethod
    def _check_time(cls, time: Any) -> str | None:
        if time is not None and not 0 < _seconds(str(time)) <= 10**8:
            raise ValueError('it must be hours, minutes or seconds, such as "30min", "2h" or "1h30min"')
        return None if time is None else str(time)

    @property
    def seconds(self) -> float | None:
        """`time` in seconds."""
        return None if self.time is None else _seconds(self.time)

    @field_validator("momentum", "decoupled_weight_decay", "poly_power")
    @classmethod
    def _check_effect(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses a setting that has no effect; None stands for the default."""
        default = cls.model_fields[info.field_name].get_default(call_default_factory=True, validated_data=info.data)
        if value is not None and default is None:
            choice = CHOICES[info.field_name]
            raise ValueError(f"it has no effect with train.{choice}={info.data.get(choice)}; leave it out")
        return default if value is None else value

    @field_validator("save_every", mode="before")
    @classmethod
    def _check_interval(cls, interval: Any) -> str | int:
        text = str(interval)
        match = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?) ?min", text)
        if not match or not 0 < float(match[1] or match[2]) <= 10**9:
            raise ValueError('it must be a number of steps, such as 500, or minutes, such as "10min", at most 10^9')
        return int(text) if text.isdecimal() else text

    @property
    def save_interval(self) -> dict[str, float]:
        """`save_every` as an argument of `CheckpointManager`."""
        if isinstance(self.save_every, int):
            return {"every_steps": self.save_every}
        return {"every_seconds": 60 * float(self.save_every.removesuffix("min"))}


CHOICES = {  # the optimizer or the schedule, for each setting that depends on it
    name: field.json_schema_extra["depends_on"] for name, field in Train.model_fields.items() if field.json_schema_extra
}


class Loss(_Section):
    """The loss, summed over the outputs: see `keras_crosscoop.losses`."""

    weights: dict[Literal["top", "bottom", "single"], Weight] = {}  # of each output's loss; 1 by default
    class_weights: dict[str, Weight] | None = None  # by class name; 1 by default
    label_smoothing: Rate = 0.0
    focal_gamma: Annotated[float, Field(ge=0, le=100), _Number] = 0.0  # 0 for plain cross-entropy
    hard_pixel_fraction: Annotated[float, Field(ge=1e-4, le=1), _Number] = 1.0  # of each image, by loss (OHEM)
    dice_weight: Weight = 0.0  # of an additional Dice loss


class Evaluation(_Section):
    """The validation during training, the evaluation at the end of `fit`, and the defaults of `evaluate`."""

    crop: Crop | None = None  # size of a centre crop; None for whole images
    images: Count | None = None  # images of validations during training, spread evenly over the split; None for all
    final_images: Count | None = None  # images of the evaluation at the end of `fit`; None for all
    window: Window | None = None  # size of sliding windows for larger images; None: whole images if memory allows


class Ablation(_Section):
    """The rows of `crosscoop-tf ablate`; no run depends on them."""

    rows: Annotated[tuple[str, ...], Field(min_length=1)] = ("all",)  # "all", "table1", "table5", or rows by name
    seeds: Annotated[int, Field(ge=1, le=1000), _Number] = 3  # runs per row


class Settings(_Section):
    """All settings of a run, by section."""

    data: Data = Data()
    model: Model = Model()
    train: Train = Train()
    loss: Loss = Loss()
    evaluation: Evaluation = Evaluation()
    ablation: Ablation = Ablation()
