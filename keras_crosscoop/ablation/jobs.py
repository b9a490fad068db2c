"""The jobs of an ablation. Each job has its own process, with a share of the machine's GPUs and CPU cores."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import tensorflow as tf

from keras_crosscoop.errors import Interrupted, describe
from keras_crosscoop.system.files import make_folder
from keras_crosscoop.system.processes import Worker, WorkerError
from keras_crosscoop.system.resources import cores
from keras_crosscoop.system.signals import Signals, handle_signals, restore

_PROGRAM = "from keras_crosscoop.ablation.worker import main; main()"
_PATIENCE = 60.0  # seconds for a process to save and end

JobProgress = Callable[[str, str, int, int], object]  # (job, stage, done, total)


class Job(NamedTuple):
    """A row with a seed."""

    name: str  # of the row and the seed, for progress and failures
    task: Mapping[str, Any]  # the message to `worker.main`
    after: tuple[str, ...] = ()  # names of the jobs that must be done before this one


def run_jobs(jobs: Iterable[Job], at_once: int, progress: JobProgress) -> dict[str, str]:
    """Runs jobs, `at_once` at a time.

    After the first SIGTERM, SIGHUP or Ctrl-C, the jobs save their state and end; a later one kills them.

    Returns:
        The reason for each failed job, by name. All other jobs are done.

    Raises:
        Interrupted: A signal ended the jobs.
    """
    pool, failed = _Pool(at_once, progress), {}
    jobs = list(jobs)
    with ThreadPoolExecutor(at_once) as threads, pool.ended_by_signals():
        for group in ([job for job in jobs if not job.after], [job for job in jobs if job.after]):
            missing = [[name for name in job.after if name in failed] for job in group]
            reasons = threads.map(pool.run, group, missing)
            failed |= {job.name: reason for job, reason in zip(group, reasons, strict=True) if reason}
    if pool.signals.first is not None:
        exceptions = f", except {', '.join(pool.lost)}" if pool.lost else ""
        raise Interrupted(f"stopped and saved{exceptions}. Continue with the same command", pool.signals.first)
    return failed


def _environments(at_once: int) -> Iterator[dict[str, str]]:
    """Yields environment variables that give each of the simultaneous processes its share of the machine."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = tf.config.list_physical_devices("GPU")
    names = visible.split(",") if visible else [str(number) for number in range(len(gpus))]
    threads = str(max(1, cores() // at_once))
    for number in range(at_once):
        environment = {} if at_once == 1 else {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads}
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = names[number % len(names)]
        yield environment


class _Pool:
    """The running processes.

    Attributes:
        signals: The received signals.
        lost: Names of the jobs that could not save their state after a signal.
    """

    def __init__(self, at_once: int, progress: JobProgress) -> None:
        self.signals, self.lost = Signals(), []
        self._progress = progress
        self._workers: set[Worker] = set()
        self._slots: SimpleQueue[dict[str, str]] = SimpleQueue()
        for environment in _environments(at_once):
            self._slots.put(environment)

    def run(self, job: Job, missing: Sequence[str]) -> str | None:
        """Runs a job, unless jobs that it needs are missing; returns the reason if it failed."""
        if self.signals.first is not None:
            return None
        environment = self._slots.get()
        try:
            reason = f"It needs {', '.join(missing)}, which failed." if missing else self._work(job, environment)
        except Exception as error:  # such as a full disk: the other jobs continue
            reason = str(error) if isinstance(error, WorkerError) else describe(error)
        finally:
            self._slots.put(environment)
        if self.signals.first is None:
            self._progress(job.name, "failed" if reason else "done", 1, 1)
        elif reason:
            self.lost.append(job.name)
        return reason

    def _work(self, job: Job, environment: Mapping[str, str]) -> str | None:
        folder = Path(job.task["folder"])
        make_folder(folder)
        log = folder.parent / f"{folder.name}.log"
        with Worker(_PROGRAM, log, environment) as worker:
            worker.send(job.task)
            self._workers.add(worker)
            try:
                if self.signals.first is not None:  # it arrived in the meantime
                    worker.end_input()
                while "end" not in (message := worker.receive()):
                    self._progress(job.name, message["stage"], message["done"], message["total"])
            except WorkerError:
                worker.close(_PATIENCE)
                # Outside of training, SIGTERM ends the process at once, and no work is lost.
                if self.signals.first is None or worker.process.returncode != -signal.SIGTERM:
                    raise
                return None
            finally:
                self._workers.discard(worker)
            worker.close(_PATIENCE)
        if self.signals.first is None and message["end"]:
            return message["end"]
        log.unlink(missing_ok=True)
        return None

    @contextmanager
    def ended_by_signals(self) -> Iterator[None]:
        """Handles signals: the first one asks the processes to save and end, a later one kills them."""

        def end(number: int, _: object) -> None:
            at_once = self.signals.received(number)
            for worker in [*self._workers]:
                worker.process.kill() if at_once else worker.end_input()

        former = handle_signals(end)
        try:
            yield
        finally:
            restore(former)
