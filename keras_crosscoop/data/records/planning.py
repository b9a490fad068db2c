"""What writing a data set as records will take, found out before the first byte is written."""

import math
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from keras_crosscoop.data.catalogue import dataset
from keras_crosscoop.data.spec import Dataset, Pair
from keras_crosscoop.errors import AbsentError, InputError
from keras_crosscoop.images.io import image_size
from keras_crosscoop.system.resources import threads

VERSION = "1.0.0"
_SHARD_SIZE = 128 << 20  # bytes: TFDS keeps a whole one in memory
_MOST_SHARDS = 256  # of a split: all stay open while it is read
_OVERHEAD = 300  # bytes of a record beside its pixels, with a name of usual length


@dataclass(frozen=True)
class Plan:
    """What will be written.

    Attributes:
        data: the data set.
        data_dir: where it was found.
        folder: where its records will be.
        shards: split -> how many samples each of its shards will have.
        size: how many bytes all will take, about.
        left_out: the splits of which there are no files.
    """

    data: Dataset
    data_dir: Path | None
    folder: Path
    shards: Mapping[str, list[int]]
    size: int
    left_out: tuple[str, ...]

    @property
    def records(self) -> Path:
        """The folder of all data sets' records: what a reader gives as `data_dir`."""
        return self.folder.parents[1]

    @property
    def samples(self) -> int:
        """How many there are."""
        return sum(map(sum, self.shards.values()))


def plan(name: str, data_dir: Path | None, records: Path, splits: Sequence[str] = ()) -> Plan:
    """Looks at what there is to write, and whether it can be.

    Args:
        name: a data set of the catalogue.
        data_dir: its folder; see `dataset`.
        records: the folder of all data sets' records.
        splits: which ones; by default all of which there are files.

    Raises:
        InputError: the data set or a split cannot be used, its records are there already, or the disk has no room.
    """
    folder = records.absolute() / name / VERSION
    if folder.exists():
        raise InputError(
            f'Records are never overwritten, and those of "{name}" are there. Remove them, or name another folder. '
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
    sizes = {split: _size(found) for split, found in pairs.items()}
    _check_room(sum(sizes.values()), folder)
    return Plan(
        data=data,
        data_dir=data_dir.absolute() if data_dir else None,
        folder=folder,
        shards={split: _shard_lengths(len(found), sizes[split]) for split, found in pairs.items()},
        size=sum(sizes.values()),
        left_out=tuple(missing),
    )


def _size(pairs: list[Pair]) -> int:
    with ThreadPoolExecutor(threads()) as pool:
        return sum(4 * math.prod(size) + _OVERHEAD for size in pool.map(image_size, (image for image, _ in pairs)))


def _shard_lengths(count: int, size: int) -> list[int]:
    shards = min(math.ceil(size / _SHARD_SIZE), _MOST_SHARDS, count)
    stops = [count * number // shards for number in range(shards + 1)]
    return [stop - start for start, stop in pairwise(stops)]


def _check_room(size: int, folder: Path) -> None:
    there = next(path for path in folder.parents if path.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise InputError(
            f"The records take {size / 1e9:.2f} GB, and the disk has {free / 1e9:.2f} GB left. Make room, name another "
            f"disk's folder, or write fewer splits. Received: {folder}"
        )
