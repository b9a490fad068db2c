"""On which devices a training runs: one, all of this machine, or those of several machines."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf

from keras_crosscoop.data import ReplicaRange
from keras_crosscoop.errors import InputError
from keras_crosscoop.keras_internals import lost_machine, spans_machines

Strategy = Literal["auto", "none", "mirrored", "multiworker"]


def strategy(name: Strategy = "auto") -> tf.distribute.Strategy:
    """The strategy of that name; "auto" is the largest that there are devices for.

    Several machines are those of `TF_CONFIG`, or else of a Slurm allocation. TensorFlow wants to hear of them before it
    computes anything.

    Raises:
        InputError: nothing says which machines, or one of them cannot be reached.
    """
    if name == "auto":
        gpus = len(tf.config.list_logical_devices("GPU")) if not _machines() else 0
        name = "multiworker" if _machines() else "mirrored" if gpus > 1 else "none"
    if name == "multiworker":
        return _multiworker()
    if name == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        # TensorFlow's collectives take 0.2 ms on CPUs, however little they sum; sums by plain operations, 0.01 ms.
        sums = tf.distribute.ReductionToOneDevice() if kind == "CPU" else None
        return tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices(kind)], sums)
    return tf.distribute.get_strategy()


def distributed(load: Callable[[ReplicaRange], tf.data.Dataset]) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Each replica's part of every batch: what `load` gives for the parts of this machine, in the strategy's scope."""

    def of_machine(context: tf.distribute.InputContext) -> tf.data.Dataset:
        here = context.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * here
        return load(ReplicaRange(first, first + here, context.num_replicas_in_sync))

    return tf.distribute.get_strategy().distribute_datasets_from_function(of_machine)


def is_chief() -> bool:
    """Whether this process is the one that writes: the only one, or the first of several machines."""
    resolver = tf.distribute.get_strategy().cluster_resolver
    if resolver is None or resolver.task_id is None:
        return True
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


def on_any_machine(flag: bool) -> bool:
    """Whether it is so on one of the machines; all of them ask at the same step."""
    strategy = tf.distribute.get_strategy()
    if not spans_machines(strategy):
        return flag
    flags = strategy.experimental_distribute_values_from_function(lambda _: tf.constant(float(flag)))
    return bool(strategy.reduce(tf.distribute.ReduceOp.SUM, flags, axis=None) > 0)


def several_machines() -> bool:
    """Whether the strategy is of several machines."""
    return spans_machines(tf.distribute.get_strategy())


def on_first_replica(value: Any, others: Any) -> Any:
    """A value for the first replica, and another for all others, to be run on in the strategy's scope."""
    strategy = tf.distribute.get_strategy()
    if strategy.num_replicas_in_sync == 1:
        return value
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(others if context.replica_id_in_sync_group else value)
    )


@contextmanager
def lost_machines(folder: Path) -> Iterator[None]:
    """Around what several machines do together for a run: says so if one of them is gone.

    Raises:
        InputError: instead of what became of waiting for it. Other errors pass unchanged.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError) as error:
        if not spans_machines(tf.distribute.get_strategy()):
            raise
        machine = lost_machine(error)
        name = f" ({machine})" if machine else ""
        reason = re.sub(r"{{.*?}} ", "", error.message.splitlines()[0])
        raise InputError(
            f"Another machine of this training{name} is gone. Look at what it printed last, then go on on all of "
            f"them by `crosscoop-tf fit --resume {folder}`. Received: {reason}"
        ) from error


def _machines() -> Literal["TF_CONFIG", "Slurm"] | None:
    """What speaks of several machines."""
    if len(_workers()) > 1:
        return "TF_CONFIG"
    return "Slurm" if os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1" else None


def _workers() -> list[str]:
    try:
        cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
        return [*cluster.get("chief", []), *cluster.get("worker", [])]
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(
            'TF_CONFIG must be JSON such as {"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", '
            f'"index": 0}}}}. Received: {os.environ["TF_CONFIG"]!r}'
        ) from error


def _multiworker() -> tf.distribute.Strategy:
    match _machines():
        case None:
            raise InputError(
                "Several machines are named by TF_CONFIG, or by Slurm within srun. Name them, or choose another "
                f"strategy. Received: {os.environ.get('TF_CONFIG', 'neither')}"
            )
        case "Slurm":
            resolver = tf.distribute.cluster_resolver.SlurmClusterResolver
        case "TF_CONFIG":
            resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver())
    except (RuntimeError, ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"The machines cannot be joined ({reason}). Received: {_machines()}") from error
