"""The TFDS builder that writes records of any data set of the catalogue."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from keras_crosscoop.data.catalogue import CATALOGUE, dataset
from keras_crosscoop.data.records.reader import METADATA_FORMAT
from keras_crosscoop.data.spec import Dataset, Pair
from keras_crosscoop.errors import InputError
from keras_crosscoop.system.resources import threads

VERSION = "1.0.0"


def make_builder(
    data: Dataset,
    data_dir: Path | None,
    shards: Mapping[str, list[int]],
    target: Path,
    on_sample: Callable[[], None] | None,
) -> Any:
    """Makes a TFDS builder that streams samples; the generic builders of TFDS keep a whole split in memory.

    Args:
        data: The data set.
        data_dir: The folder of the data set.
        shards: The number of samples in each shard of each split.
        target: The folder to write to; TFDS appends name and version.
        on_sample: Called after each sample; None with Beam.
    """
    import tensorflow_datasets as tfds

    unlabelled = tuple(split for split in shards if split in data.unlabelled)
    description = f"Semantic segmentation. Classes, by id: {', '.join(data.classes)}."
    if unlabelled:
        description += f" Splits without labels: {', '.join(unlabelled)}."

    class Builder(tfds.core.ShardBasedBuilder, skip_registration=True):
        name = data.name
        VERSION = tfds.core.Version(VERSION)
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
                    format=METADATA_FORMAT,
                    classes=data.classes,
                    palette=data.palette,
                    splits=tuple(shards),
                    unlabelled=unlabelled,
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
            for split, lengths in shards.items():
                self._split = split
                super()._download_and_prepare(dl_manager, download_config)
                splits.append(self.info.splits[split].replace(shard_lengths=lengths))
            self.info.set_splits(tfds.core.SplitDict(splits))

        def _shard_iterators_per_split(self, dl_manager: Any) -> dict[str, list[Callable]]:
            *starts, count = accumulate(shards[self._split], initial=0)
            samples = [
                _Samples(data.name, data_dir, self._split, count, start, start + length)
                for start, length in zip(starts, shards[self._split], strict=True)
            ]
            return {self._split: [_counted(shard, on_sample) for shard in samples] if on_sample else samples}

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

    def __call__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        data, pairs = open_split(self.name, self.data_dir, self.split)
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
            finally:
                pool.shutdown(cancel_futures=True)


def _counted(shard: _Samples, on_sample: Callable[[], None]) -> Callable[[], Iterator]:
    def samples() -> Iterator:
        for sample in shard():
            yield sample
            on_sample()

    return samples


@lru_cache(maxsize=4)
def open_split(name: str, data_dir: Path | None, split: str) -> tuple[Dataset, list[Pair]]:
    """Opens a data set and lists the pairs of a split; `prepare.plan` has checked their headers."""
    data = dataset(name, data_dir)
    return data, data.pairs(split, headers=False)
