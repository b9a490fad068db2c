"""What there is to compute on, and in which precisions."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import tensorflow as tf

from keras_crosscoop.system.resources import cores


class Device(NamedTuple):
    """A device that TensorFlow sees."""

    name: str
    description: str
    precisions: tuple[str, ...]


def devices() -> list[Device]:
    """The devices, each with the precisions that its hardware multiplies in.

    A GPU multiplies in float16 from compute capability 7.0 (tensor cores) and in bfloat16 from 8.0. Every CPU takes
    `mixed_bfloat16` and `mixed_float16` as well, but without such instructions they are slower than float32.
    """
    found = []
    for device in tf.config.list_physical_devices():
        details = tf.config.experimental.get_device_details(device)
        if device.device_type == "GPU":
            capability = details.get("compute_capability", (0, 0))
            fast = [name for name, least in (("float16", (7, 0)), ("bfloat16", (8, 0))) if capability >= least]
            description = f"{details.get('device_name', 'GPU')}, compute capability {'.'.join(map(str, capability))}"
        else:
            fast, description = _cpu_precisions(), _cpu_cores()
        found.append(Device(device.name.removeprefix("/physical_device:"), description, ("float32", *fast)))
    return found


def fastest_precision() -> str:
    """The Keras policy for the numbers that all devices of the kind to train on multiply fastest.

    Of both halves bfloat16, which needs no scaling of the loss.
    """
    found = devices()
    kind = "GPU" if any("GPU" in device.name for device in found) else "CPU"
    common = set.intersection(*(set(device.precisions) for device in found if kind in device.name))
    return next((f"mixed_{half}" for half in ("bfloat16", "float16") if half in common), "float32")


def share_gpus() -> None:
    """Lets TensorFlow take no more memory of GPUs than it needs, where several processes are at work.

    TensorFlow offers no way back: the process keeps this setting.
    """
    for gpu in tf.config.list_physical_devices("GPU"):
        with suppress(RuntimeError):  # it is in use already
            tf.config.experimental.set_memory_growth(gpu, True)


def _cpu_cores() -> str:
    usable, there = cores(), psutil.cpu_count() or 1
    return f"{there} cores" if usable == there else f"{usable} of {there} cores"


def _cpu_precisions() -> list[str]:
    """Those with instructions of their own, as Linux tells."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return []
    return [name for name, flag in (("float16", "avx512_fp16"), ("bfloat16", "avx512_bf16")) if flag in flags]
