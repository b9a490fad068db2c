"""Runs without training, and metrics without an evaluation."""

from pathlib import Path

import numpy as np
import pytest

from keras_crosscoop import config, dataset
from keras_crosscoop.runs import Run

TINY = {"top": "micro_3x3", "bottom": "micro_5x5", "decoder_channels": 8, "weights": None, "dropout": [0, 0, 0]}


@pytest.fixture
def make_run(make_folder, tmp_path):
    """Makes a run without weights, and its data set with the classes road, sky and car or with other names."""

    def make(name="run", *, classes=None, size=(24, 32), images=2, epochs=3, **model):
        root = tmp_path / "mine"
        if not root.exists():
            make_folder({"train": 1, "val": images}, size)
        if classes:
            (root / "classes.txt").write_text("".join(f"{label}\n" for label in classes))
        settings = config.settings(
            {"data": {"name": "folder", "dir": root}, "model": {**TINY, **model}, "train": {"epochs": epochs}}
        )
        data = dataset("folder", root)
        return Run.create(tmp_path / name, settings, data), data

    return make


@pytest.fixture
def make_metrics():
    """Makes a result of `evaluate` from random numbers, with some entries changed."""

    def make(data, outputs=("top", "bottom", "ensemble"), seed=0, **changes):
        rng = np.random.default_rng(seed)
        count = len(data.classes)

        def number():
            return float(rng.uniform(0.2, 0.9))

        def output_metrics():
            means = ("mean_iou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou", "mean_dice")
            return {
                **{name: number() for name in (*means, "mean_boundary_f", "calibration_error")},
                "per_class": {
                    name: {metric: number() for metric in ("iou", "accuracy", "dice", "boundary_f")}
                    for name in data.classes
                },
                "confusion": rng.integers(1, 1000, (count, count)).tolist(),
                "calibration": {
                    "pixels": [0, *rng.integers(1, 1000, 14).tolist()],
                    "confidence": [None, *np.linspace(0.1, 0.98, 14).tolist()],
                    "accuracy": [None, *rng.uniform(0, 1, 14).tolist()],
                },
            }

        shares = ("share", "top_right", "bottom_right", "neither_right", "ensemble_right")
        names = [Path(image.name).name for image, _ in data.find("val")]
        return {
            **{"dataset": data.name, "split": "val", "images": len(names), "skipped": [], "crop": None},
            **{"window": None, "overlap": 1 / 3, "scales": [1.0], "flip": False, "boundary_tolerance": 3},
            "seconds_per_image": 0.25,
            "outputs": {name: output_metrics() for name in outputs},
            "disagreement": {share: number() for share in shares} if len(outputs) > 1 else None,
            "per_image": [
                {
                    "image": name,
                    "mean_iou": {output: number() for output in outputs},
                    "pixel_accuracy": {output: number() for output in outputs},
                }
                for name in names
            ],
            **changes,
        }

    return make
