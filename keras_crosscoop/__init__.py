"""Cross cooperative learning for semantic segmentation: two different networks that read each other's features."""

from importlib import import_module
from typing import Any

from keras_crosscoop import training
from keras_crosscoop.models import CrossCoop, DeepLabV3Plus, backbones
from keras_crosscoop.runs import load, warm_start

__version__ = "0.1.0"

# Each in its module, which is imported when it is first asked for: the networks also run where there is no TensorFlow.
_NEED_TENSORFLOW = {"dataset": "data", "evaluation": "evaluation", "export": "export", "load_dataset": "data"}

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
    """The rest of `__all__`, see PEP 562."""
    if name not in _NEED_TENSORFLOW:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_NEED_TENSORFLOW[name]}")
    return getattr(module, name, module)


def __dir__() -> list[str]:
    """All names, imported or not."""
    return sorted({*globals(), *__all__})
