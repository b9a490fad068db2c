"""What a row's own process does: it trains and measures one network, or joins two and measures them."""

import json
import os
import signal
import sys
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
from keras_crosscoop.ablation.joining import late_ensemble
from keras_crosscoop.config import Settings
from keras_crosscoop.data import dataset
from keras_crosscoop.errors import InputError, Interrupted
from keras_crosscoop.evaluation.run_metrics import evaluate_run
from keras_crosscoop.runs import Run
from keras_crosscoop.system.locks import lock
from keras_crosscoop.system.processes import replier
from keras_crosscoop.training import fit, resume

CONFUSIONS = "confusions.npz"  # of a row's folder: each image's confusion matrices

Watch = Callable[[str, int, int], object]  # (what is done, how much of it, of how much)


def main() -> None:
    """Reads a job, a line of JSON, from stdin, and replies by lines of JSON on stdout.

    A job names its `folder` and `settings`, and, if two networks are joined, the folders of their runs (`joins`). A
    reply tells what is `done` of how much (`total`) of what (`doing`); the last one of a job that ended before it was
    done, the `error`, and whether its training is `saved`. When stdin ends, because its parent wants that or is dead,
    the process saves and ends.
    """
    reply = replier()
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    lock(2, wait=True)  # for one of a killed ablation to save and end: it has the same log
    try:
        work(job, lambda doing, done, total: reply(doing=doing, done=done, total=total))
    except Exception as error:  # whatever it is, the other rows go on
        traceback.print_exc()  # into the log
        text = [line for line in str(error).splitlines() if line.strip()] or [""]
        known = isinstance(error, InputError | Interrupted)
        told = text[0] if known else f"{type(error).__name__}: {text[-1]}"
        reply(error=told, saved=isinstance(error, Interrupted))


def work(job: dict[str, Any], watch: Watch) -> None:
    """Does what is still to do of a job.

    Raises:
        InputError: as of `fit` and `evaluate`.
        Interrupted: by a signal, saved.
    """
    folder, settings = Path(job["folder"]), config.settings(job["settings"])
    if job["joins"]:
        folder.mkdir(parents=True, exist_ok=True)
        model = late_ensemble(*(Run.open(Path(each)).load() for each in job["joins"]))
    else:
        with _only_saving_ends():
            run = _trained(settings, folder, watch)
        keras.backend.clear_session(free_memory=True)  # the network that was trained
        model = run.load()
    data = dataset(settings.data.name, settings.data.dir)
    told = partial(watch, "measuring")
    evaluate_run(folder, settings, model, data, confusions_path=folder / CONFUSIONS, progress=told)


def _trained(settings: Settings, folder: Path, watch: Watch) -> Run:
    callbacks = [_Told(watch, settings.train.epochs)]
    if (folder / "classes.json").exists():  # the last that a run's beginning writes
        return resume(folder, callbacks)
    (folder / "config.yaml").unlink(missing_ok=True)  # which the beginning of one may have left
    return fit(settings, folder, callbacks)


@contextmanager
def _only_saving_ends() -> Iterator[None]:
    """Within it, SIGTERM ends a training that can save, and nothing else: who stops all processes may send several."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Told(keras.callbacks.Callback):
    """Tells of every step."""

    def __init__(self, watch: Watch, epochs: int) -> None:
        super().__init__()
        self.watch, self.epochs, self.epoch = watch, epochs, 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes which it is."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Tells how many steps are done."""
        steps = self.params["steps"]
        self.watch("training", self.epoch * steps + batch + 1, self.epochs * steps)

    def get_state(self) -> dict[str, Any]:
        """Nothing: what is told is of this process."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes what `get_state` gave."""


def _end_with_stdin() -> None:
    sys.stdin.read()
    while True:  # it may be ignored: see `_only_saving_ends`
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
