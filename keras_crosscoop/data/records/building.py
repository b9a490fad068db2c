"""The TFDS builder of any data set of the catalogue."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from keras_crosscoop.data.catalogue import CATALOGUE, dataset
from keras_crosscoop.data.records.planning import VERSION, Plan
from keras_crosscoop.data.records.reading import FORMAT
from keras_crosscoop.data.spec import Dataset, Pair
from keras_crosscoop.errors import InputError
from keras_crosscoop.system.resources import threads


def builder(plan: Plan, data_dir: Path, on_sample: Callable[[], None] | None) -> Any:
    """The builder that writes what is planned; TFDS's own for data of any kind keeps a whole split in memory.

    Args:
        plan: what to write.
        data_dir: the folder to write to; TFDS adds name and version.
        on_sample: called for each sample. Beam's workers cannot: it takes None.
    """
    import tensorflow_datasets as tfds

    data = plan.data
    unlabelled = tuple(split for split in plan.shards if split in data.unlabelled)

    class Builder(tfds.core.ShardBasedBuilder, skip_registration=True):
        name = data.name
        VERSION = tfds.core.Version(VERSION)
        code_path = None  # TFDS would look for checksums of downloads there, by a package that it does not install

        def _info(self) -> tfds.core.DatasetInfo:
            description = f"Semantic segmentation. Classes, by id: {', '.join(data.classes)}."
            if unlabelled:
                description += f" Splits without labels: {', '.join(unlabelled)}."
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
                    format=FORMAT,
                    classes=data.classes,
                    palette=data.palette,
                    splits=tuple(plan.shards),
                    unlabelled=unlabelled,
                ),
            )

        def _log_download_bytes(self) -> None:
            """Says nothing: nothing is downloaded, and this would go to stdout."""

        def _log_download_done(self) -> None:
            """Says nothing: this would name the folder that it is not going to stay in."""

        def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
            # Split by split, since TFDS would run the first splits' Beam pipeline again with each later split. It also
            # mixes the lengths up where there are more than ten shards.
            written = []
            for split, lengths in plan.shards.items():
                self._split = split
                super()._download_and_prepare(dl_manager, download_config)
                written.append(self.info.splits[split].replace(shard_lengths=lengths))
            self.info.set_splits(tfds.core.SplitDict(written))

        def _shard_iterators_per_split(self, dl_manager: Any) -> dict[str, list[Callable]]:
            *starts, count = accumulate(plan.shards[self._split], initial=0)
            shards = [
                _Samples(data.name, plan.data_dir, self._split, count, start, start + length)
                for start, length in zip(starts, plan.shards[self._split], strict=True)
            ]
            return {self._split: [_counted(shard, on_sample) for shard in shards] if on_sample else shards}

    return Builder(data_dir=data_dir)


@dataclass(frozen=True)
class _Samples:
    """The samples of a shard. Beam sends this to a worker, which opens the data set for itself."""

    name: str
    data_dir: Path | None
    split: str
    count: int  # of the split's samples
    start: int
    stop: int

    def __call__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        data, pairs = opened(self.name, self.data_dir, self.split)
        if len(pairs) != self.count:
            raise InputError(
                f'Split "{self.split}" had {self.count} samples when writing began, and now has {len(pairs)}. Leave '
                f"the files alone, and show every worker the same ones. Received: {self.data_dir}"
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
def opened(name: str, data_dir: Path | None, split: str) -> tuple[Dataset, list[Pair]]:
    """A data set and a split's pairs, whose headers `plan` has checked."""
    data = dataset(name, data_dir)
    return data, data.pairs(split, headers=False)
