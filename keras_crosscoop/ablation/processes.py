"""Rows in processes of their own: one that fails or dies takes no other with it, and GPUs are shared out."""

import json
import os
import queue
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
from pydantic import BaseModel, NonNegativeInt

from keras_crosscoop.errors import Interrupted
from keras_crosscoop.system.processes import Replies, ReplyError, last_words, started
from keras_crosscoop.system.resources import cores
from keras_crosscoop.system.signals import Signals, handle_signals, restore

_PROGRAM = "from keras_crosscoop.ablation.worker import main; main()"

_PATIENCE = 60.0  # seconds in which a process saves that is asked to end as it does not speak as it should


class Progress(BaseModel):
    """A reply of `worker.main`."""

    doing: str
    done: NonNegativeInt
    total: NonNegativeInt


class Ended(BaseModel):
    """Its last reply, where the job was not done."""

    error: str
    saved: bool = False


class Job(NamedTuple):
    """A row with a seed.

    Attributes:
        name: of both, for progress and failures.
        told: what `worker.main` reads.
        after: the names of jobs that must be done before.
    """

    name: str
    told: Mapping[str, Any]
    after: tuple[str, ...] = ()


Watch = Callable[[str, str, int, int], object]  # (job, what is done, how much of it, of how much)


def run_jobs(jobs: Iterable[Job], at_once: int, watch: Watch) -> dict[str, str]:
    """Does jobs, so many at a time, each on a GPU of its own where there are some, and in its share of the CPUs.

    SIGTERM, SIGHUP and Ctrl-C let the jobs save what they have; a later one does not wait for it.

    Returns:
        Why some failed, by their names; the others are done.

    Raises:
        Interrupted: by a signal.
    """
    waiting, failed, lost, running = list(jobs), {}, [], _Running()
    pending = {job.name for job in waiting}
    slots: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
    for environment in _environments(at_once):
        slots.put(environment)
    with ThreadPoolExecutor(at_once) as pool, running.ended_by_signals():
        futures: dict[Future, Job] = {}
        while pending:
            for job in [job for job in waiting if not pending & {*job.after}]:
                waiting.remove(job)
                if lacking := [name for name in job.after if name in failed]:
                    failed[job.name] = f"It is made of {', '.join(lacking)}, which failed."
                    pending.discard(job.name)
                    watch(job.name, "failed", 1, 1)
                else:
                    futures[pool.submit(_run, job, slots, running, watch)] = job
            done, _ = wait(futures, return_when=FIRST_COMPLETED)
            for future in done:
                job = futures.pop(future)
                pending.discard(job.name)
                reason = future.result()
                if running.signals.first is not None:
                    lost += [job.name] if reason else []
                    continue
                if reason:
                    failed[job.name] = reason
                watch(job.name, "failed" if reason else "done", 1, 1)
    running.check(lost)
    return failed


def _environments(at_once: int) -> Iterator[dict[str, str]]:
    """What tells each of the processes that run at a time which part of the machine is theirs."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = tf.config.list_physical_devices("GPU")
    names = visible.split(",") if visible else [str(number) for number in range(len(gpus))]
    threads = str(max(1, cores() // at_once))
    for number in range(at_once):
        environment = {} if at_once == 1 else {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads}
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = names[number % len(names)]
        yield environment


def _run(job: Job, slots: "queue.SimpleQueue[dict[str, str]]", running: "_Running", watch: Watch) -> str | None:
    """Does a job; why it failed."""
    environment = slots.get()
    try:
        return running.run(job, environment, watch)
    except ReplyError as error:
        return str(error)
    except Exception as error:  # as of a full disk: the other jobs go on
        return f"{type(error).__name__}: {error}"
    finally:
        slots.put(environment)


class _Running:
    """The processes at work."""

    def __init__(self) -> None:
        self.processes: set[subprocess.Popen] = set()
        self.signals = Signals()

    def run(self, job: Job, environment: Mapping[str, str], watch: Watch) -> str | None:
        """Starts a process for a job and waits for its end; why it failed. One that a signal ends has not, if it saved.

        Raises:
            OSError: its folder or its log cannot be written.
            ReplyError: it does not speak as `worker.main` does.
        """
        if self.signals.first is not None:
            return None
        folder = Path(job.told["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        errors = folder.parent / f"{folder.name}.log"
        process = started(_PROGRAM, errors, environment)  # which Ctrl-C reaches by `end` alone
        replies = Replies(process, Progress, Ended)
        try:
            with suppress(BrokenPipeError):  # it is dead, as its exit code tells
                process.stdin.write(json.dumps(job.told) + "\n")
                process.stdin.flush()
            self.processes.add(process)
            if self.signals.first is not None:  # it came meanwhile
                _ask_to_end(process)
            last = {}
            while (reply := replies.get()) is not None:
                last = reply
                if "error" not in last:
                    watch(job.name, last["doing"], last["done"], last["total"])
        except Exception:
            _ask_to_end(process)
            _end(process)
            raise
        finally:
            code = process.wait()
            replies.close()
            _ask_to_end(process)  # it is dead: this closes the pipe
            self.processes.discard(process)
        in_order = last.get("saved") or code == -signal.SIGTERM  # which it heeds before it trains, and after
        if self.signals.first is not None and in_order:
            return None
        error = last.get("error")
        if code and not error:
            error = f"Its process ended with exit code {code}. {last_words(errors)}".strip()
        if not error:
            errors.unlink(missing_ok=True)
        return error

    @contextmanager
    def ended_by_signals(self) -> Iterator[None]:
        """Within it, the first signal has the processes save and end, a later one ends them; `check` tells of it."""

        def end(number: int, _: object) -> None:
            at_once = self.signals.received(number)
            for process in [*self.processes]:
                process.kill() if at_once else _ask_to_end(process)

        before = handle_signals(end)
        try:
            yield
        finally:
            restore(before)

    def check(self, lost: Iterable[str]) -> None:
        """Raises what a signal asked for; some jobs did not save."""
        if self.signals.first is not None:
            but = f", but for {', '.join(lost)}" if lost else ""
            raise Interrupted(f"stopped, and saved{but}. Go on by the same command", self.signals.first)


def _end(process: subprocess.Popen) -> None:
    """Waits for one that was asked to end, but not for ever."""
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()


def _ask_to_end(process: subprocess.Popen) -> None:
    """By the end of what it reads."""
    with suppress(OSError):  # it is dead, and has not read all
        process.stdin.close()
