"""Which devices are taken, and what is said of machines that cannot be."""

from types import SimpleNamespace

import pytest
import tensorflow as tf
from helpers import refused

from keras_crosscoop.errors import InputError
from keras_crosscoop.training import failures
from keras_crosscoop.training import strategy as strategies
from keras_crosscoop.training.failures import lost_machines
from keras_crosscoop.training.strategy import is_chief, mean_over_machines, min_over_machines, on_any_machine, strategy

# What TensorFlow 2.21 said when a worker was killed: to one that waited for it, and by its heartbeats.
BROKEN_OFF = """{{function_node __wrapped__CollectiveReduceV2_Nordering_token_1_device_/job:worker/replica:0/task:0}} \
Collective ops is aborted by: recvmsg:Connection reset by peer
Additional GRPC error information from remote target /job:worker/replica:0/task:1 while calling /RecvBuf:"""
SILENT = """Collective ops is aborted by: Error reported from /job:worker/task:1: The following tasks are unhealthy \
(stopped sending heartbeats):
/job:worker/replica:0/task:1
The tasks have crashed."""


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("TF_CONFIG", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["auto", "none"])
def test_one_device_needs_no_strategy(name):
    assert strategy(name).num_replicas_in_sync == 1
    assert not isinstance(strategy(name), tf.distribute.MirroredStrategy)


def test_mirrored_takes_what_there_is():
    assert isinstance(strategy("mirrored"), tf.distribute.MirroredStrategy)


def test_several_machines_must_be_named():
    assert "needs several machines in TF_CONFIG" in refused(strategy, "multiworker")


@pytest.mark.parametrize("value", ["{", "[]", '{"cluster": 3}', '{"cluster": {"worker": 3}}'])
def test_what_names_machines_must_be_whole(monkeypatch, value):
    monkeypatch.setenv("TF_CONFIG", value)
    message = refused(strategy, "auto")
    assert "TF_CONFIG must be JSON such as" in message
    assert value in message


@pytest.mark.parametrize(
    ("cluster", "task", "expected"),
    [
        ({"worker": ["a:1", "b:1"]}, ("worker", 0), True),
        ({"worker": ["a:1", "b:1"]}, ("worker", 1), False),
        ({"chief": ["a:1"], "worker": ["b:1"]}, ("chief", 0), True),
        ({"chief": ["a:1"], "worker": ["b:1"]}, ("worker", 0), False),  # as Kubeflow counts
    ],
)
def test_one_of_several_machines_writes(monkeypatch, cluster, task, expected):
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(tf.train.ClusterSpec(cluster), "", *task)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: SimpleNamespace(cluster_resolver=resolver))
    assert is_chief() == expected


@pytest.mark.parametrize("tasks", ["2", "many"])
def test_a_slurm_step_must_be_whole(monkeypatch, tasks):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", tasks)
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    message = refused(strategy, "auto")
    assert message.startswith("The machines cannot be connected (")
    assert message.endswith("Received: Slurm")


def test_tasks_are_lists(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": "localhost:1"}, "task": {"type": "worker", "index": 0}}')
    assert "The machines cannot be connected (" in refused(strategy, "auto")


def test_one_process_writes_and_asks_itself():
    assert is_chief()
    assert on_any_machine(True) is True
    assert on_any_machine(False) is False
    assert mean_over_machines(0.1) == min_over_machines(0.1) == 0.1


def test_the_minimum_over_machines_holds_bytes(monkeypatch):
    """One machine stands for several."""
    monkeypatch.setattr(strategies, "several_machines", lambda: True)
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        assert min_over_machines(80 * 2**30) == 80 * 2**30


@pytest.mark.parametrize("text", [BROKEN_OFF, SILENT])
def test_a_lost_machine_is_named_in_one_line(monkeypatch, tmp_path, text):
    monkeypatch.setattr(failures, "several_machines", lambda: True)

    def wait():
        with lost_machines(tmp_path):
            raise tf.errors.UnavailableError(None, None, text)

    message = refused(wait)
    assert "another machine of this training (worker 1) is lost" in message
    assert f"--resume {tmp_path}" in message
    assert "{{" not in message


def test_other_errors_pass(monkeypatch, tmp_path):
    with pytest.raises(tf.errors.UnavailableError), lost_machines(tmp_path):
        raise tf.errors.UnavailableError(None, None, BROKEN_OFF)  # on one machine it means something else
    monkeypatch.setattr(failures, "several_machines", lambda: True)
    with pytest.raises(InputError, match="mine"), lost_machines(tmp_path):
        raise InputError("mine")
