"""Devices that TensorFlow can use, and the number formats that their hardware supports."""

import subprocess
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
    """Lists the devices, each with the number formats for which its hardware has instructions.

    GPUs have float16 from compute capability 7.0 (tensor cores) and bfloat16 from 8.0. A CPU without such instructions
    also computes in `mixed_bfloat16` and `mixed_float16`, but more slowly than in float32.
    """
    listed = []
    for device in tf.config.list_physical_devices():
        details = tf.config.experimental.get_device_details(device)
        if device.device_type == "GPU":
            capability = details.get("compute_capability", (0, 0))
            halves = [name for name, least in (("float16", (7, 0)), ("bfloat16", (8, 0))) if capability >= least]
            description = f"{details.get('device_name', 'GPU')}, compute capability {'.'.join(map(str, capability))}"
        else:
            usable, total = cores(), psutil.cpu_count() or 1
            halves, description = _cpu_halves(), f"{total} cores" if usable == total else f"{usable} of {total} cores"
        listed.append(Device(device.name.removeprefix("/physical_device:"), description, ("float32", *halves)))
    return listed


def fastest_precision() -> str:
    """Returns the fastest Keras dtype policy of the devices for training: all GPUs, or the CPU.

    bfloat16 is preferred to float16, because it needs no loss scaling.
    """
    listed = devices()
    kind = "GPU" if any("GPU" in device.name for device in listed) else "CPU"
    common = set.intersection(*(set(device.precisions) for device in listed if kind in device.name))
    return next((f"mixed_{half}" for half in ("bfloat16", "float16") if half in common), "float32")


def gpu_memory() -> tuple[int, ...]:
    """Returns the bytes of each GPU that TensorFlow sees; 8 GiB if `nvidia-smi` does not tell.

    TensorFlow itself tells the use of a GPU's memory, but not its size.
    """
    gpus = len(tf.config.list_physical_devices("GPU"))
    if not gpus:
        return ()
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout.split()
        sizes = [int(line) << 20 for line in lines]
    except (OSError, ValueError, subprocess.SubprocessError):
        sizes = []
    # CUDA_VISIBLE_DEVICES may hide some of them: the smallest is assumed for all.
    return (min(sizes, default=8 << 30),) * gpus


def share_gpus() -> None:
    """Makes TensorFlow take GPU memory only as it needs it, so that several processes can share the GPUs.

    TensorFlow cannot undo this setting in the process.
    """
    for gpu in tf.config.list_physical_devices("GPU"):
        with suppress(RuntimeError):  # the GPU is already in use
            tf.config.experimental.set_memory_growth(gpu, True)


def _cpu_halves() -> list[str]:
    """Returns the half-precision formats of the CPU's instructions, if Linux reports them."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return []
    return [name for name, flag in (("float16", "avx512_fp16"), ("bfloat16", "avx512_bf16")) if flag in flags]
