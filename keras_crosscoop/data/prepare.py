"""Writes a data set as TFDS records, on this machine or on several with Apache Beam."""

import importlib.util
import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from keras_crosscoop.data.catalogue import CATALOGUE, dataset
from keras_crosscoop.data.records.checksums import write_sums
from keras_crosscoop.data.spec import Dataset, Pair
from keras_crosscoop.errors import AbsentError, InputError, reason
from keras_crosscoop.system.files import atomic_folder
from keras_crosscoop.system.resources import threads

_VERSION = "1.0.0"
_SHARD_SIZE = 128 << 20  # bytes: TFDS keeps a whole shard in memory
_OVERHEAD = 300  # bytes of a record besides its pixels
_WORKER_ERROR = re.compile(rf"{InputError.__name__}: (?P<message>.*) \[while running ")


@dataclass(frozen=True)
class Plan:
    """The records to write."""

    data: Dataset
    data_dir: Path | None
    folder: Path  # of the records
    shards: Mapping[str, list[int]]  # split -> the number of samples in each shard
    size: int  # of all records, in bytes, approximately
    missing: tuple[str, ...]  # the splits without files, which are left out

    @property
    def samples(self) -> int:
        """The number of samples."""
        return sum(map(sum, self.shards.values()))


def plan(name: str, data_dir: Path | None, records: Path, splits: Sequence[str] = ()) -> Plan:
    """Plans records in `records`, the common folder of all records, and checks whether they can be written.

    By default, all splits with files are written.

    Raises:
        InputError: The data set or a split cannot be used, its records exist already, or the disk is too small.
    """
    if name not in CATALOGUE:
        raise InputError(
            f"Records can be written of the catalogue's data sets only: {', '.join(CATALOGUE)}. Data sets of TFDS are "
            f"records already. Received: {name!r}"
        )
    folder = records.absolute() / name / _VERSION
    if folder.exists():
        raise InputError(
            f'Records of "{name}" exist, and are never overwritten. Remove them, or name another folder. '
            f"Received: {folder}"
        )
    data = dataset(name, data_dir)
    pairs: dict[str, list[Pair]] = {}
    missing: dict[str, AbsentError] = {}
    for split in dict.fromkeys(splits or data.splits):
        try:
            pairs[split] = data.pairs(split)
        except AbsentError as error:
            if splits:
                raise
            missing[split] = error
    if not pairs:
        raise next(iter(missing.values()))
    with ThreadPoolExecutor(threads()) as pool:
        image_sizes = {split: pool.map(data.size, *zip(*pairs[split], strict=True)) for split in pairs}
        sizes = {split: sum(4 * math.prod(size) + _OVERHEAD for size in image_sizes[split]) for split in pairs}
    size = sum(sizes.values())
    free = shutil.disk_usage(next(path for path in folder.parents if path.exists())).free
    if size > free:
        raise InputError(
            f"The records take {size / 1e9:.2f} GB, and the disk has {free / 1e9:.2f} GB left. Make room, choose "
            f"another disk, or write fewer splits. Received: {folder}"
        )
    return Plan(
        data=data,
        data_dir=data_dir.absolute() if data_dir else None,
        folder=folder,
        shards={split: _shard_lengths(len(pairs[split]), sizes[split]) for split in pairs},
        size=size,
        missing=tuple(missing),
    )


def _shard_lengths(count: int, size: int) -> list[int]:
    shards = min(math.ceil(size / _SHARD_SIZE), count)
    return [stop - start for start, stop in pairwise(count * number // shards for number in range(shards + 1))]


def write(plan: Plan, *, beam_options: str | None = None, on_sample: Callable[[], None] = lambda: None) -> Path:
    """Writes records. After an error, no records remain.

    Record i of a split is pair i of `Dataset.pairs`. Its features are `image`, RGB, uint8 `(H, W, 3)`; `label`, class
    ids, 255 for void, uint8 `(H, W)`; and `name`, the name of the image file.

    Args:
        plan: The records to write.
        beam_options: Options of Apache Beam such as "runner=DirectRunner,direct_num_workers=4"; None to write without
            Beam. Beam's workers open the data set themselves: they need this package, and both folders under the same
            paths.
        on_sample: Called after each sample, but not with Beam.

    Returns:
        The folder of the records.

    Raises:
        InputError: A file is damaged, the records cannot be written, or Apache Beam or its runner is missing.
    """
    import tensorflow_datasets as tfds

    beam = {} if beam_options is None else _beam(beam_options)
    config = tfds.download.DownloadConfig(try_download_gcs=False, **beam)
    try:
        with atomic_folder(plan.folder) as partial, _worker_errors():
            scratch = partial / "scratch"  # for TFDS, which also makes an empty folder for downloads
            builder = _make_builder(plan, scratch, None if beam else on_sample)
            builder.download_and_prepare(download_config=config)
            for path in Path(builder.data_dir).iterdir():
                if not path.name.endswith(".shard_infos.json"):  # a temporary file of TFDS
                    path.rename(partial / path.name)
            shutil.rmtree(scratch)
            write_sums(partial)
    except OSError as error:
        raise InputError(
            f"The records cannot be written ({reason(error)}). Check space and permissions. Received: {plan.folder}"
        ) from error
    finally:
        _open_split.cache_clear()  # closes the files, which may change before the next call
    return plan.folder


def _make_builder(plan: Plan, target: Path, on_sample: Callable[[], None] | None) -> Any:
    """Makes a TFDS builder that streams samples; the generic builders of TFDS keep a whole split in memory."""
    import tensorflow_datasets as tfds

    data = plan.data
    unlabelled = tuple(split for split in plan.shards if split in data.unlabelled)
    description = f"Semantic segmentation. Classes, by id: {', '.join(data.classes)}."
    if unlabelled:
        description += f" Splits without labels: {', '.join(unlabelled)}."

    class Builder(tfds.core.ShardBasedBuilder, skip_registration=True):
        name = data.name
        VERSION = tfds.core.Version(_VERSION)
        code_path = None  # TFDS would search this path for checksums, with a package that may be missing

        def _info(self) -> tfds.core.DatasetInfo:
            return tfds.core.DatasetInfo(
                builder=self,
                description=description,
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Tensor(shape=(None, None, 3), dtype=np.uint8, encoding="bytes"),
                        "label": tfds.features.Tensor(shape=(None, None), dtype=np.uint8, encoding="bytes"),
                        "name": tfds.features.Text(),
                    }
                ),
                supervised_keys=("image", "label"),
                license=CATALOGUE[data.name].licence,
                disable_shuffling=True,
                metadata=tfds.core.MetadataDict(
                    classes=data.classes,
                    palette=data.palette,
                    unlabelled=unlabelled,
                    reading=asdict(data.reading),
                ),
            )

        def _log_download_bytes(self) -> None:
            """Suppresses a message on stdout about a download that does not happen."""

        def _log_download_done(self) -> None:
            """Suppresses a message that names the temporary folder."""

        def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
            # Each split is written separately, because TFDS would run the Beam pipelines of earlier splits again. The
            # shard lengths are set here, because TFDS mixes up more than ten shards.
            splits = []
            for split, lengths in plan.shards.items():
                self._split = split
                super()._download_and_prepare(dl_manager, download_config)
                splits.append(self.info.splits[split].replace(shard_lengths=lengths))
            self.info.set_splits(tfds.core.SplitDict(splits))

        def _shard_iterators_per_split(self, dl_manager: Any) -> dict[str, list[Callable]]:
            bounds = list(accumulate(plan.shards[self._split], initial=0))
            return {
                self._split: [
                    _Samples(data.name, plan.data_dir, self._split, bounds[-1], start, stop, on_sample)
                    for start, stop in pairwise(bounds)
                ]
            }

    return Builder(data_dir=target)


@dataclass(frozen=True)
class _Samples:
    """The samples of a shard. Beam sends this object to a worker, which opens the data set itself."""

    name: str
    data_dir: Path | None
    split: str
    count: int  # samples of the split
    start: int
    stop: int
    on_sample: Callable[[], None] | None

    def __call__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        data, pairs = _open_split(self.name, self.data_dir, self.split)
        if len(pairs) != self.count:
            raise InputError(
                f'Split "{self.split}" had {self.count} samples when writing began, but now has {len(pairs)}. Do not '
                f"change the files, and give every worker the same files. Received: {self.data_dir}"
            )
        pairs = pairs[self.start : self.stop]
        with ThreadPoolExecutor(threads()) as pool:
            try:
                samples = pool.map(lambda pair: data.read(*pair), pairs)
                for index, ((image, _), (pixels, ids)) in enumerate(zip(pairs, samples, strict=True), self.start):
                    yield index, {"image": pixels, "label": ids, "name": image.name}
                    if self.on_sample:
                        self.on_sample()
            finally:
                pool.shutdown(cancel_futures=True)


@lru_cache(maxsize=4)
def _open_split(name: str, data_dir: Path | None, split: str) -> tuple[Dataset, list[Pair]]:
    """Opens a data set and lists the pairs of a split; `plan` has checked their headers."""
    data = dataset(name, data_dir)
    return data, data.pairs(split, headers=False)


def _beam(options: str) -> dict[str, Any]:
    """Returns the arguments of TFDS for Apache Beam."""
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
            f"Name a runner, such as runner=DirectRunner. Received: {options!r}"
        ) from error
    return {"beam_runner": runner, "beam_options": parsed}


@contextmanager
def _worker_errors() -> Iterator[None]:
    """Restores the `InputError` of a worker. Beam appends text to its message, or raises its traceback as text."""
    try:
        yield
    except (InputError, RuntimeError) as error:
        text = f"{InputError.__name__}: {error}" if isinstance(error, InputError) else str(error)
        if (match := _WORKER_ERROR.search(text)) is None:
            raise
        raise InputError(match["message"]) from error
