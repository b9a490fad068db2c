"""Cross cooperative learning for semantic segmentation: two different networks read each other's features."""

from importlib import import_module
from typing import Any

from keras_crosscoop import training
from keras_crosscoop.models import CrossCoop, DeepLabV3Plus, backbones
from keras_crosscoop.runs import load, warm_start

__version__ = "0.1.0"

# Names and their modules, which are imported on first use, so that the networks also run without TensorFlow.
_NEED_TENSORFLOW = {
    **dict.fromkeys(("Dataset", "dataset", "load_dataset"), "data"),
    "evaluation": "evaluation",
    "export": "export",
}

__all__ = [
    "CrossCoop",
    "DeepLabV3Plus",
    "__version__",
    "backbones",
    "load",
    "training",
    "warm_start",
    *_NEED_TENSORFLOW,
]


def __getattr__(name: str) -> Any:
    """Imports the rest of `__all__` on first use, see PEP 562."""
    if name not in _NEED_TENSORFLOW:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_NEED_TENSORFLOW[name]}")
    return getattr(module, name, module)


def __dir__() -> list[str]:
    """Lists all names, whether imported yet or not."""
    return sorted({*globals(), *__all__})
