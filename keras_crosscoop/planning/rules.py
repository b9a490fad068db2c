"""The rules of a plan, in one table: each chooses a setting from facts, and says why.

A rule reads the settings that the user gave and those that earlier rules chose. Numbers come from the public
DeepLabV3+ implementations and the paper; those of the light and the tiny pair from trainings on CamVid and
`street_scenes`.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from keras_crosscoop.planning.facts import Facts, words

Chosen = tuple[Any, str] | None  # a value and the reason; None to leave the default


class Rule(NamedTuple):
    """The rule for a setting."""

    setting: str
    choose: Callable[[Facts], Chosen]


class Pair(NamedTuple):
    """Two backbones with the head that suits them, and their costs for one pixel of a training crop."""

    top: Any
    bottom: Any
    decoder_channels: int
    channel_reduction: int
    activations: float  # bytes in float32, of all layers' outputs; `crosscoop-tf summary --size 513`
    parameters: float


TINY = Pair("tiny_xception", "tiny_resnet", 32, 1, 2000, 2.2e6)
LIGHT = Pair("mobilenet_v2", {"name": "mobilenet", "alpha": 0.75}, 64, 4, 4600, 8.8e6)
MEDIUM = Pair("resnet50", "xception", 256, 4, 9600, 89e6)
PAPER = Pair("xception65", "resnet101", 256, 1, 15400, 148e6)


class Training(NamedTuple):
    """How a kind of backbone is trained."""

    optimizer: str
    learning_rate: float
    batch_size: int  # for which the rate holds: SGD's grows in proportion to the batch, AdamW's with its root
    head_lr_multiplier: float
    weight_decay: float
    clip_norm: float | None
    warmup_steps: int
    source: str


DEEPLAB = Training("sgd", 0.007, 6, 10.0, 5e-4, None, 0, "DeepLab's")
TRAININGS = {  # by the beginning of the backbone's name
    "tiny_": Training("sgd", 0.1, 8, 1.0, 1e-4, None, 0, "from random weights, measured on street scenes"),
    "mobilenet|efficientnet": Training("adamw", 5e-4, 8, 5.0, 0.01, 1.0, 25, "measured on CamVid with the light pair"),
}

GIB = 2**30
HOUR = 3600
CROPS = (128, 192, 256, 320, 384, 448, 512, 576, 640, 768)  # the network pads others to a multiple of its stride
SMALL_CROP = 320  # pixels; on a GPU, twice as many take little more time
FEW_IMAGES = 10
RARE = 0.1  # of the labelled pixels, for which rare-class sampling and a Dice loss help: docs/results/camvid-recipe.md
VISIBLE = 16  # pixels, about, of an object that a network can still recognise: the output stride
NORMALISED = 4  # images at a time, at least, for the statistics of batch normalisation
_STEP = 1.25  # memory of a training step over its layers' outputs: gradients and buffers of kernels
_PER_PARAMETER = 20  # bytes: weight, gradient, the optimizer's two states, and the moving average
_USABLE = 0.8  # of the memory
_LABEL = 1.1e-8  # seconds to decode a pixel of a label: docs/speed.md

# Words of pictures that have no up, see `data.orientation`: in any name, and in the name of a data set or its folder. A
# class "building", "rock" or "drone" may be seen from the ground.
_ANYWHERE = (
    r"cell(?! phone)|nucleus|nuclei|cytoplasm|mitochondri(?:on|a)|neuron|membrane|bacteri(?:um|a)|gland|tissue"
    r"|impervious surface"
)
_IN_TITLES = (
    r"aerial|satellite|drone|uav|ortho(?:photo)?|land ?(?:cover|use)|rooftop|isprs|potsdam|vaihingen|inria|loveda"
    r"|deepglobe|spacenet|microscop[ey]|histo(?:logy|pathology)|pathology|colon(?:y|ie)|tem|sem|grain|crystal|mineral"
    r"|pore|thin section"
)
_WITHOUT_UP = re.compile(rf"\b(?:{_ANYWHERE})s?\b")
_TITLE_WITHOUT_UP = re.compile(rf"\b(?:{_ANYWHERE}|{_IN_TITLES})s?\b")


def _pair(facts: Facts) -> tuple[Pair, str]:
    machine, hours = facts.machine, (facts.seconds or math.inf) / HOUR
    if facts.data.text.startswith("street scenes"):
        return TINY, "a tiny pair: drawings need no ImageNet weights"
    if not machine.imagenet:
        return TINY, "a tiny pair: ImageNet weights are neither in Keras's cache nor can they be downloaded"
    if not machine.gpus:
        return LIGHT, f"a light pair: no GPU, {machine.cores} CPU cores"
    memory = machine.device_memory / GIB
    work = hours * len(machine.gpus)
    gpus = f"{len(machine.gpus)} GPUs" if len(machine.gpus) > 1 else "a GPU"
    have = f"{gpus} of {memory:.0f} GiB" + (f" for {hours:.1f} hours" if facts.seconds else "")
    if memory >= 16 and work >= 2:
        return PAPER, f"the paper's pair: {have}"
    if memory >= 6 and work >= 0.5:
        return MEDIUM, f"a medium pair: {have}"
    return LIGHT, f"a light pair: {have}"


def _top(facts: Facts) -> Chosen:
    pair, reason = _pair(facts)
    return pair.top, reason


def _with_top(field: str) -> Callable[[Facts], Chosen]:
    """Returns the rule that takes a field of the pair."""
    return lambda facts: (getattr(_pair(facts)[0], field), f"goes with {_pair(facts)[0].top}")


def _name(facts: Facts, side: str = "top") -> str | None:
    """Returns the name of a backbone; None if there is no such network."""
    backbone = facts[f"model.{side}"]
    return backbone["name"] if isinstance(backbone, Mapping) else backbone


def _weights(facts: Facts) -> Chosen:
    names = {side: name for side in ("top", "bottom") if (name := _name(facts, side)) is not None}
    weights = {side: None if name in (TINY.top, TINY.bottom) else "imagenet" for side, name in names.items()}
    if None not in weights.values():
        return "imagenet", "few images are enough to fine-tune"
    reason = "random: tiny backbones have no ImageNet weights"
    return (weights, f"null is {reason}") if "imagenet" in weights.values() else (None, reason)


def _dropout(facts: Facts) -> Chosen:
    if _name(facts) in (TINY.top, LIGHT.top):
        return (0.0,) * 3, "small heads need none"
    return (0.5, 0.5, 0.1), "DeepLab's"


def _crop_size(facts: Facts) -> Chosen:
    shorter = min(facts.data.height, facts.data.width)
    limit, device = (768 if shorter >= 768 else 512, "GPU") if facts.machine.gpus else (320, "CPU")
    sizes = [size for size in CROPS if size <= min(limit, shorter + 32)] or [CROPS[0]]
    fitting = [size for size in sizes if _fitting_images(facts, size) >= NORMALISED] or [sizes[0]]
    reason = f"images of {facts.data.height}x{facts.data.width}; at most {limit} on a {device}"
    if fitting[-1] < sizes[-1]:
        reason = f"larger crops of {NORMALISED} images, for batch normalisation, do not fit into the memory"
    return fitting[-1], reason


def _scale(facts: Facts) -> Chosen:
    shorter, crop, extents = min(facts.data.height, facts.data.width), facts["data.crop_size"], facts.data.extents
    if shorter >= 4 * crop:
        smallest = min(extents, key=extents.get, default=None)
        lowest = min(max(0.25, VISIBLE / extents[smallest]), 1.0) if smallest else 0.25
        reason = f"a crop of {crop} pixels shows little of an image of {shorter}"
        if lowest > 0.25:
            reason += (
                f", but {smallest} must stay visible: it covers about {extents[smallest]:.0f}x{extents[smallest]:.0f}"
            )
        return (round(min(lowest, 0.75), 2), round(max(1.0, 2 * lowest), 2)), reason
    if _name(facts) == TINY.top:
        return (0.8, 1.25), "a tiny network learns few scales"
    if _name(facts) == LIGHT.top:
        return (0.6, 1.8), "a light pair learns fewer scales than DeepLab's 0.5 to 2"
    return (0.5, 2.0), "DeepLab's"


def _precision(facts: Facts) -> Chosen:
    device, policy = "GPU" if facts.machine.gpus else "CPU", facts.machine.precision
    if policy == "float32":
        return policy, f"the {device} has no instructions for shorter numbers"
    return policy, f"the {device} has instructions for it"


def _costs(facts: Facts) -> Pair:
    """The pair with the top backbone of the settings, or a medium one for other backbones."""
    return next((pair for pair in (TINY, LIGHT, MEDIUM, PAPER) if pair.top == _name(facts)), MEDIUM)


def memory_of_step(facts: Facts, images: int, crop: int) -> float:
    """Estimates the bytes of a training step with so many crops on each device."""
    pair = _costs(facts)
    precision = facts["train.precision"]
    width = 4 if (facts.machine.precision if precision == "auto" else precision) == "float32" else 2
    return _STEP * images * crop**2 * pair.activations * width / 4 + _PER_PARAMETER * pair.parameters


def _fitting_images(facts: Facts, crop: int) -> int:
    """The crops of a step that fit into the memory of each device; at least 1."""
    limit = _USABLE * facts.machine.device_memory
    return next((images for images in (16, 8, 6, 4, 3, 2) if memory_of_step(facts, images, crop) <= limit), 1)


def _batch_size(facts: Facts) -> Chosen:
    devices = max(1, len(facts.machine.gpus))
    small = facts.machine.gpus and facts["data.crop_size"] <= SMALL_CROP
    wanted = max(2, (16 if small or devices > 1 else 8) // devices) * devices
    if wanted > (images := facts.data.train):
        return max(1, images // devices) * devices, f"there are only {images} training images"
    if devices > 1:
        return wanted, f"16 images or more, over {devices} GPUs"
    return wanted, f"{wanted} images{', since crops are small for a GPU' if small else ''}"


def _accumulation_steps(facts: Facts) -> Chosen:
    share = max(1, facts["train.batch_size"] // max(1, len(facts.machine.gpus)))
    fitting = _fitting_images(facts, facts["data.crop_size"])
    steps = next(parts for parts in range(1, share + 1) if share % parts == 0 and share // parts <= fitting)
    if steps == 1:
        return 1, f"{share} images of a device fit into its memory"
    return steps, f"only {share // steps} images of a device fit into its memory at a time"


def _rarest(facts: Facts) -> str | None:
    """Returns a sentence about the rarest class; None if no class is rare."""
    shares = {name: share for name, share in facts.data.frequencies.items() if share}
    name = min(shares, key=shares.get, default=None)
    return f"{name} has {100 * shares[name]:.1f} % of the pixels" if name and shares[name] < RARE else None


def _rare_classes(facts: Facts) -> Chosen:
    if (rarest := _rarest(facts)) is None:
        return 0.0, "no class is rare"
    data = facts.data
    seconds = data.train * data.height * data.width * _LABEL
    if facts.seconds is not None and seconds > 0.02 * facts.seconds:
        return 0.0, f"decoding all {data.train} labels would take {seconds:.0f} s"
    return 0.5, rarest


def _dice_weight(facts: Facts) -> Chosen:
    rarest = _rarest(facts)
    return (1.0, rarest) if rarest else (0.0, "no class is rare")


def _orientation(facts: Facts) -> Chosen:
    classes = words(*facts.data.frequencies)
    if word := _TITLE_WITHOUT_UP.search(facts.data.text) or _WITHOUT_UP.search(classes):
        return "any", f'pictures without an up, by the word "{word[0]}"'
    return "upright", "nothing says that the pictures have no up"


def _epochs(facts: Facts) -> Chosen:
    if facts.seconds is not None:
        return None  # a timed beginning settles it
    steps = 30_000 if facts.machine.gpus else 4_000
    epochs = max(1, math.ceil(steps * facts["train.batch_size"] / facts.data.train))
    return epochs, f"about {steps:,} steps"


def _training(facts: Facts) -> Training | None:
    """Returns how the top backbone is trained; None if the user chose another optimizer, whose defaults then hold."""
    name = _name(facts) or _name(facts, "bottom")
    training = next((training for names, training in TRAININGS.items() if re.match(names, name or "")), DEEPLAB)
    return training if facts.settings.get("train.optimizer", training.optimizer) == training.optimizer else None


def _trained(field: str) -> Callable[[Facts], Chosen]:
    """Returns the rule that takes a field of the training."""

    def choose(facts: Facts) -> Chosen:
        training = _training(facts)
        return None if training is None else (getattr(training, field), training.source)

    return choose


def _learning_rate(facts: Facts) -> Chosen:
    if (training := _training(facts)) is None:
        return None
    ratio = facts["train.batch_size"] / training.batch_size
    rate = training.learning_rate * (math.sqrt(ratio) if training.optimizer == "adamw" else ratio)
    scaled = "" if ratio == 1 else f", scaled from {training.learning_rate} for {training.batch_size} images"
    return round(rate, 6), f"{training.source}{scaled}"


def warnings(facts: Facts) -> Iterator[str]:
    """Yields what to expect of few images, of settings without effect, and of a step that may exceed the memory."""
    unused = [name for name in ("train.epochs", "train.validate_every") if name in facts.settings]
    if facts.seconds is not None and unused:
        yield f"train.time replaces {' and '.join(unused)}: steps and validations are fitted into the time."
    if facts.data.train < FEW_IMAGES:
        yield (
            f"Only {facts.data.train} training images: the network will hardly recognise what they do not show. "
            "Dozens of images are usual."
        )
    height, width, crop = facts.data.height, facts.data.width, facts["data.crop_size"]
    if (filled := min(height, crop) * min(width, crop) / crop**2) < 0.5:
        yield (
            f"Images of {height}x{width} fill {100 * filled:.0f} % of a crop of {crop} pixels; the rest is padding. "
            "Lower data.crop_size, or cut the images differently."
        )
    images = facts["train.batch_size"] / max(1, len(facts.machine.gpus)) / facts["train.accumulation_steps"]
    need = memory_of_step(facts, math.ceil(images), facts["data.crop_size"]) / GIB
    if need > (memory := facts.machine.device_memory / GIB):
        yield (
            f"A training step takes about {need:.1f} GiB, and a device has {memory:.1f} GiB. Lower train.batch_size or "
            "data.crop_size, or raise train.accumulation_steps."
        )


RULES = (
    Rule("model.top", _top),
    Rule("model.bottom", _with_top("bottom")),
    Rule("model.decoder_channels", _with_top("decoder_channels")),
    Rule("model.channel_reduction", _with_top("channel_reduction")),
    Rule("model.weights", _weights),
    Rule("model.dropout", _dropout),
    Rule("train.precision", _precision),
    Rule("data.crop_size", _crop_size),
    Rule("data.scale", _scale),
    Rule("train.batch_size", _batch_size),
    Rule("train.accumulation_steps", _accumulation_steps),
    Rule("train.epochs", _epochs),
    Rule("train.optimizer", _trained("optimizer")),
    Rule("train.learning_rate", _learning_rate),
    Rule("train.head_lr_multiplier", _trained("head_lr_multiplier")),
    Rule("train.weight_decay", _trained("weight_decay")),
    Rule("train.clip_norm", _trained("clip_norm")),
    Rule("train.warmup_steps", _trained("warmup_steps")),
    Rule("data.orientation", _orientation),
    Rule("data.rare_classes", _rare_classes),
    Rule("loss.dice_weight", _dice_weight),
)
