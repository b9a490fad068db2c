"""The whole comparison: every row trained and measured under identical conditions, then told."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from keras_crosscoop import config
from keras_crosscoop.ablation.processes import Job, Watch, run_jobs
from keras_crosscoop.ablation.rows import FULL, ROWS, Row, selected
from keras_crosscoop.ablation.worker import CONFUSIONS
from keras_crosscoop.config import Settings
from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.run_metrics import METRICS_FILE
from keras_crosscoop.runs import build
from keras_crosscoop.system.devices import share_gpus
from keras_crosscoop.system.files import atomic_write, make_folder
from keras_crosscoop.system.locks import locked
from keras_crosscoop.training import builders

_BUSY = "Another ablation is at work in the folder. Wait for it, or name another with --output."


class Ablation(NamedTuple):
    """A comparison, in a folder.

    Attributes:
        folder: holds `config.yaml`, the settings that the rows share, and `{row}/seed-{n}`, each a run folder, but for
            rows that join the networks of others, with `metrics.json` and `confusions.npz`, each image's.
        settings: of the full method; rows change the model, and the seed.
        rows: what is compared.
        seeds: of each row.
    """

    folder: Path
    settings: Settings
    rows: Sequence[Row]
    seeds: Sequence[int]

    def run(self, row: str, seed: int) -> Path:
        """The folder of a row with a seed."""
        return self.folder / row / f"seed-{seed}"

    def whole(self) -> "Ablation":
        """All that lies in the folder, also of other rows and seeds than these."""
        names = (path.name.removeprefix("seed-") for path in self.folder.glob("*/seed-*") if path.is_dir())
        return self._replace(rows=tuple(ROWS.values()), seeds=sorted({int(name) for name in names if name.isdecimal()}))

    def done(self, row: str, seed: int) -> bool:
        """Whether a row was trained and measured with a seed."""
        return all((self.run(row, seed) / name).exists() for name in (METRICS_FILE, CONFUSIONS))

    def jobs(self) -> list[Job]:
        """What is still to do."""
        return [
            Job(
                _job(row.name, seed),
                {
                    "folder": str(self.run(row.name, seed)),
                    "settings": row.settings(self.settings, seed).model_dump(mode="json"),
                    "joins": [str(self.run(each, seed)) for each in row.joins],
                },
                tuple(_job(each, seed) for each in row.joins),
            )
            for seed in self.seeds
            for row in self.rows
            if not self.done(row.name, seed)
        ]


def _job(row: str, seed: int) -> str:
    return f"{row}, seed {seed}"


def ablate(
    settings: Settings, folder: Path, *, at_once: int | None = None, watch: Watch
) -> tuple[Ablation, dict[str, str]]:
    """Trains and measures every row with every seed, as far as that is still to do.

    Args:
        settings: of the full method; `ablation` says which rows, and how many seeds, from `train.seed` on. With one
            seed all rows see the same crops in the same order.
        folder: a new one, or that of an ablation with these settings, which then goes on.
        at_once: rows that are trained at a time; where there are GPUs, each has one of its own, so no more than these.
            By default as many as there are GPUs, or one.
        watch: is told of progress.

    Returns:
        The comparison, and why some rows failed.

    Raises:
        InputError: there is no such row, backbone or file of weights, the settings are of a single network or of what
            rows decide, the data set cannot be used, or the folder holds something else, or another ablation at work.
        Interrupted: by a signal; what was done is kept.
    """
    rows = selected(settings.ablation.rows)
    _check(settings)
    data = builders.data(settings)
    first = settings.train.seed
    ablation = Ablation(folder, settings, rows, range(first, first + settings.ablation.seeds))
    if ablation.jobs():
        share_gpus()  # with them
        for row in (ROWS["single_top"], ROWS["single_bottom"]):  # now, rather than when it is their turn
            build(row.settings(settings, 0).model, len(data.classes))
    _begin(ablation)
    with locked(folder, _BUSY):
        jobs = ablation.jobs()
        for job in jobs:
            watch(job.name, "waiting", 0, 1)
        gpus = len(tf.config.list_physical_devices("GPU"))
        return ablation, run_jobs(jobs, min(at_once or gpus, gpus) if gpus else at_once or 1, watch)


def _check(settings: Settings) -> None:
    """Refuses what would be no comparison, or not the one that was asked for."""
    if settings.model.bottom is None:
        raise InputError("An ablation compares two networks with each by itself. Name --bottom, too. Received: none")
    for name, value in FULL.items():
        if (received := getattr(settings.model, name)) != value:
            raise InputError(
                f"The rows of an ablation say themselves which model.{name} they have. Leave it out. "
                f"Received: {received}"
            )
    if settings.train.init_from:
        raise InputError(
            "The rows of an ablation have different networks, which must all begin alike: with weights of backbones. "
            f"Leave out train.init_from. Received: {settings.train.init_from}"
        )


def _begin(ablation: Ablation) -> None:
    """Makes the folder, or finds it."""
    path = ablation.folder / "config.yaml"
    told = config.dump(ablation.settings)
    if path.exists():
        if config.dump(config.settings(config.read(path))) != told:
            raise InputError(
                f"The folder holds an ablation with other settings, see {path}. Name another with --output. "
                f"Received: {ablation.folder}"
            )
        return
    if ablation.folder.exists() and any(ablation.folder.iterdir()):
        raise InputError(
            f"An ablation needs a new or empty folder. Name another with --output. Received: {ablation.folder}"
        )
    make_folder(ablation.folder)
    with atomic_write(path) as partial:
        partial.write_text(told, encoding="utf-8")
