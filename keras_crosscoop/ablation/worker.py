"""The worker process of an ablation's job: trains and measures a network, or measures an ensemble of trained ones."""

import os
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import keras

from keras_crosscoop import config
from keras_crosscoop.config import Settings
from keras_crosscoop.errors import InputError, Interrupted
from keras_crosscoop.evaluation.run_metrics import evaluate_run
from keras_crosscoop.models import Segmenter
from keras_crosscoop.runs import Run
from keras_crosscoop.system.locks import lock
from keras_crosscoop.system.processes import connect
from keras_crosscoop.training import fit, resume

CONFUSIONS = "confusions.npz"  # in a row's folder: the confusion matrices of each image


def main() -> None:
    """Runs the job in the first message: its `folder`, its `settings` and the run folders of its `ensemble`.

    The replies hold the progress, `stage`, `done` and `total`, and finally either `error` or `end`: "" if the job is
    done, otherwise the signal that stopped it after it was saved. When the input ends, by request or by the death of
    the parent process, this process saves and ends.
    """
    messages, send = connect()
    job = next(messages)
    threading.Thread(target=_end_with, args=(messages,), daemon=True).start()
    lock(2, wait=True)  # on the log: a process of an earlier, killed ablation may still be saving
    try:
        work(job, lambda stage, done, total: send(stage=stage, done=done, total=total))
        send(end="")
    except Interrupted as error:
        send(end=str(error))
    except Exception as error:  # the other rows continue after any error
        traceback.print_exc()  # into the log
        *_, last = ["", *filter(str.strip, str(error).splitlines())]  # TensorFlow names the cause in the last line
        send(error=last if isinstance(error, InputError) else f"{type(error).__name__}: {last}")


def work(job: dict[str, Any], progress: Callable[[str, int, int], object]) -> None:
    """Runs the part of a job that is not done yet.

    Raises:
        InputError: See `fit` and `evaluate`.
        Interrupted: A signal ended training after a checkpoint.
    """
    folder, settings = Path(job["folder"]), config.settings(job["settings"])
    if job["ensemble"]:
        folder.mkdir(parents=True, exist_ok=True)
        run, *others = (Run.open(Path(member)) for member in job["ensemble"])
        model = late_ensemble(run.load(), *(other.load() for other in others))
    else:
        with _ended_by_saving_alone():
            run = _train(settings, folder, _StepProgress(progress))
        keras.backend.clear_session(free_memory=True)  # frees the memory of training
        model = run.load()
    data = run.open_dataset()
    evaluate_run(
        folder, settings, model, data, confusions_path=folder / CONFUSIONS, progress=partial(progress, "measuring")
    )


def _train(settings: Settings, folder: Path, callback: keras.callbacks.Callback) -> Run:
    if (folder / "classes.json").exists():  # the last file that a new run writes
        return resume(folder, [callback])
    shutil.rmtree(folder, ignore_errors=True)  # left by a run that was interrupted when it began
    return fit(settings, folder, [callback])


def late_ensemble(top: Segmenter, bottom: Segmenter) -> Segmenter:
    """Returns a model with the outputs of two networks of one output that were trained separately; it renames both."""
    image = keras.Input((None, None, 3), name="image")
    logits = {}
    for side, network in (("top", top), ("bottom", bottom)):
        network.name = f"{side}_network"  # names within a graph must differ
        (logits[side],) = network(image).values()
    ensemble = Segmenter(image, logits, {}, name="late_ensemble")
    ensemble.reading = top.reading
    return ensemble


@contextmanager
def _ended_by_saving_alone() -> Iterator[None]:
    """Ignores SIGTERM except while `fit` handles it by saving: a batch system may send it several times."""
    former = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


class _StepProgress(keras.callbacks.Callback):
    def __init__(self, progress: Callable[[str, int, int], object]) -> None:
        super().__init__()
        self.progress = progress

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Reports the steps done."""
        done = int(self.model.optimizer.iterations.numpy())
        self.progress("training", done, self.params["epochs"] * self.params["steps"])


def _end_with(messages: Iterator[Any]) -> None:
    """Ends this process when its input ends."""
    for _ in messages:
        pass
    while True:  # repeatedly, because it may be ignored: see `_ended_by_saving_alone`
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
