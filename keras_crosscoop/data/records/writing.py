"""Writes records, on this machine or on many by Apache Beam; they appear whole or not at all."""

import importlib.util
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from keras_crosscoop.data.records.building import builder, opened
from keras_crosscoop.data.records.checksums import write_sums
from keras_crosscoop.data.records.planning import Plan
from keras_crosscoop.errors import InputError

_FROM_WORKER = re.compile(rf"{InputError.__name__}: (?P<message>.*) \[while running ")


def write(plan: Plan, *, beam_options: str | None = None, on_sample: Callable[[], None] = lambda: None) -> Path:
    """Writes what is planned, and returns the folder of the records.

    Record i of a split is pair i of `Dataset.pairs`. Its features are `image`, RGB, uint8 `(H, W, 3)`; `label`, class
    ids and 255 for void, uint8 `(H, W)`; and `name`, that of the image's file.

    Args:
        plan: what to write.
        beam_options: options of Apache Beam, as "runner=DirectRunner,direct_num_workers=4", to write with it. Its
            workers open the data set themselves: they need this package, and both folders under the same paths.
        on_sample: called for each sample, but not by Beam's workers.

    Raises:
        InputError: a file is broken, the records cannot be written, Apache Beam is missing, or has no such runner.
    """
    import tensorflow_datasets as tfds

    beam = {} if beam_options is None else _beam(beam_options)
    config = tfds.download.DownloadConfig(try_download_gcs=False, **beam)
    try:
        with _scratch(plan.folder) as scratch, _errors_of_workers():
            build = builder(plan, scratch, None if beam else on_sample)
            build.download_and_prepare(download_config=config)
            written = Path(build.data_dir)
            for leftover in written.glob("*.shard_infos.json"):  # of TFDS
                leftover.unlink()
            write_sums(written)
            plan.folder.parent.mkdir(exist_ok=True)
            written.rename(plan.folder)
    except OSError as error:
        raise InputError(
            f"The records cannot be written ({error.strerror or error}). Is there room, and permission? "
            f"Received: {plan.folder}"
        ) from error
    finally:
        opened.cache_clear()  # files are closed, and may change
    return plan.folder


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder to write to, on the same disk. Whatever ends the block, it goes; so do new empty folders on errors."""
    records = folder.parents[1]
    new = [path for path in folder.parents if not path.exists()]
    records.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.parent.name}-", dir=records) as scratch:
            yield Path(scratch)
    except BaseException:
        for path in new:
            with suppress(OSError):  # it was not made yet, or somebody else uses it
                path.rmdir()
        raise


def _beam(options: str) -> dict[str, Any]:
    """What TFDS wants to know to run Beam."""
    if importlib.util.find_spec("apache_beam") is None:
        raise InputError(
            f'Apache Beam is not installed. Install it: pip install "keras-crosscoop[beam]". Received: {options!r}'
        )
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    from apache_beam.runners import create_runner

    parsed = PipelineOptions([f"--{option}" for option in options.split(",")])
    runner = parsed.view_as(StandardOptions).runner or "DirectRunner"
    try:
        create_runner(runner)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"Apache Beam has no such runner ({str(error).splitlines()[0]}). "
            f"Name one as in runner=DirectRunner. Received: {options!r}"
        ) from error
    return {"beam_runner": runner, "beam_options": parsed}


@contextmanager
def _errors_of_workers() -> Iterator[None]:
    """Beam puts its own words behind the error of a bad file, or leaves nothing but a traceback's text of it."""
    try:
        yield
    except (InputError, RuntimeError) as error:
        text = f"{InputError.__name__}: {error}" if isinstance(error, InputError) else str(error)
        if (found := _FROM_WORKER.search(text)) is None:
            raise
        raise InputError(found["message"]) from error
