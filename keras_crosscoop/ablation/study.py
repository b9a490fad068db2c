"""An ablation study: trains and measures all rows under identical conditions."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from keras_crosscoop import config
from keras_crosscoop.ablation.jobs import Job, JobProgress, run_jobs
from keras_crosscoop.ablation.rows import FULL, ROWS, Row, select_rows
from keras_crosscoop.ablation.worker import CONFUSIONS
from keras_crosscoop.config import Settings
from keras_crosscoop.data import Dataset, dataset
from keras_crosscoop.data.own.discovery import open_stored, store
from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.run_metrics import METRICS_FILE
from keras_crosscoop.images.reading import DESCRIPTION_FILE
from keras_crosscoop.runs import build
from keras_crosscoop.system.devices import share_gpus
from keras_crosscoop.system.files import atomic_write, make_folder
from keras_crosscoop.system.locks import locked
from keras_crosscoop.training import builders


class Ablation(NamedTuple):
    """An ablation study and its folder.

    Attributes:
        folder: Holds `config.yaml`, the settings that the rows share, and `{row}/seed-{n}`, each a run folder with
            `metrics.json` and `confusions.npz`; ensembles of other rows have only these two files. For the user's own
            images also `dataset.yaml` and lists of files.
        settings: The settings of the full method; rows change the model and the seed.
        rows: The rows to compare.
        seeds: The seeds of each row.
    """

    folder: Path
    settings: Settings
    rows: Sequence[Row]
    seeds: Sequence[int]

    def run(self, row: str, seed: int) -> Path:
        """Returns the folder of a row with a seed."""
        return self.folder / row / f"seed-{seed}"

    def open_dataset(self) -> Dataset:
        """Opens the data set; the user's own images are read as they were when the study began."""
        if self._description.is_file():
            return open_stored(self.folder)
        return dataset(self.settings.data.name, self.settings.data.dir)

    @property
    def _description(self) -> Path:
        """The description of the user's own images, if there is one."""
        return self.folder / DESCRIPTION_FILE

    def whole(self) -> "Ablation":
        """Returns the study with all rows and seeds in the folder, also from earlier calls."""
        names = (path.name.removeprefix("seed-") for path in self.folder.glob("*/seed-*") if path.is_dir())
        return self._replace(rows=tuple(ROWS.values()), seeds=sorted({int(name) for name in names if name.isdecimal()}))

    def is_done(self, row: str, seed: int) -> bool:
        """Returns whether a row is trained and measured with a seed."""
        return all((self.run(row, seed) / name).exists() for name in (METRICS_FILE, CONFUSIONS))

    def jobs(self) -> list[Job]:
        """Returns the jobs that are not done yet."""
        base, described = self.settings, self._description
        if described.is_file():
            base = base.model_copy(update={"data": base.data.model_copy(update={"dir": described.absolute()})})
        return [
            Job(
                f"{row.name}, seed {seed}",
                {
                    "folder": str(self.run(row.name, seed)),
                    "settings": row.settings(base, seed).model_dump(mode="json"),
                    "ensemble": [str(self.run(member, seed)) for member in row.ensemble],
                },
                tuple(f"{member}, seed {seed}" for member in row.ensemble),
            )
            for seed in self.seeds
            for row in self.rows
            if not self.is_done(row.name, seed)
        ]


def ablate(
    settings: Settings, folder: Path, *, at_once: int | None = None, progress: JobProgress
) -> tuple[Ablation, dict[str, str]]:
    """Trains and measures every row with every seed, unless that is already done.

    Args:
        settings: The settings of the full method. `settings.ablation` names the rows and the number of seeds, counted
            from `train.seed`. With the same seed, all rows see the same crops in the same order.
        folder: A new folder, or the folder of an ablation with the same settings, which then continues.
        at_once: Number of simultaneous trainings; by default the number of GPUs, or one. With GPUs, each training has
            its own.
        progress: Called with (job, stage, done, total).

    Returns:
        The study, and the reasons for the jobs that failed.

    Raises:
        InputError: There is no such row, backbone or weight file; the settings describe a single network or change
            settings that rows set; the data set cannot be used; or the folder holds other files or is in use.
        Interrupted: A signal ended the study. Finished work is kept.

    Example:
        >>> from pathlib import Path
        >>> from keras_crosscoop import config
        >>> settings = config.settings({"ablation": {"rows": ["single_top", "cross"], "seeds": 2}})
        >>> study, failed = ablate(settings, Path("saved_models/study"), progress=print)  # doctest: +SKIP
    """
    rows = select_rows(settings.ablation.rows)
    _check_settings(settings)
    first = settings.train.seed
    ablation = Ablation(folder, settings, rows, range(first, first + settings.ablation.seeds))
    data = builders.data(ablation.open_dataset(), settings)
    if ablation.jobs():
        share_gpus()
        for row in (ROWS["single_top"], ROWS["single_bottom"]):  # errors appear now instead of in a process later
            build(row.settings(settings, 0).model, len(data.classes))
    _create_folder(ablation, data)
    with locked(folder, "Another ablation uses the folder. Wait for its end, or name another folder with --output."):
        jobs = ablation.jobs()
        for job in jobs:
            progress(job.name, "waiting", 0, 1)
        gpus = len(tf.config.list_physical_devices("GPU"))
        return ablation, run_jobs(jobs, min(at_once or gpus, gpus) if gpus else at_once or 1, progress)


def _check_settings(settings: Settings) -> None:
    if settings.model.bottom is None:
        raise InputError("An ablation compares pairs with single networks. Name --bottom as well. Received: none")
    for name, value in FULL.items():
        if (received := getattr(settings.model, name)) != value:
            raise InputError(f"Each row of an ablation sets model.{name} itself. Leave it out. Received: {received}")
    if settings.train.time:
        raise InputError(
            "The rows of an ablation are trained for the same number of steps, and train.time would give each its own. "
            f"Leave out train.time. Received: {settings.train.time}"
        )
    if settings.train.init_from:
        raise InputError(
            "The rows of an ablation have different networks, and all must start from backbone weights. Leave out "
            f"train.init_from. Received: {settings.train.init_from}"
        )


def _create_folder(ablation: Ablation, data: Dataset) -> None:
    path = ablation.folder / "config.yaml"
    text = config.dump(ablation.settings)
    if path.exists():
        if config.dump(config.settings(config.read(path))) != text:
            raise InputError(
                f"The folder holds an ablation with other settings, see {path}. Name another folder with --output. "
                f"Received: {ablation.folder}"
            )
        _store_description(ablation.folder, data)  # names its lists anew if the folder was moved
        return
    if ablation.folder.exists() and any(ablation.folder.iterdir()):
        raise InputError(
            f"An ablation needs a new or empty folder. Name another one with --output. Received: {ablation.folder}"
        )
    make_folder(ablation.folder)
    _store_description(ablation.folder, data)
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _store_description(folder: Path, data: Dataset) -> None:
    if data.description is not None:
        store(data.description, {split: data.find(split) for split in data.splits}, folder)
