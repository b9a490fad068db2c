"""Training within a given time."""

import json
import time
from dataclasses import replace
from itertools import product

import h5py
import numpy as np
import pytest
from helpers import refused

from keras_crosscoop import config, training
from keras_crosscoop.data import dataset
from keras_crosscoop.planning import rules
from keras_crosscoop.runs import Run
from keras_crosscoop.training import budget, trainer
from keras_crosscoop.training.budget import Durations, lay_out

MICRO = {
    "model": {"top": "micro_3x3", "bottom": "micro_5x5", "decoder_channels": 8, "weights": None},
    "data": {"name": "folder", "crop_size": 32},
    "train": {"batch_size": 4},
}
DURATIONS = Durations(build=5, first_step=15, step=1, batch=0.1, first_validation=10, validation=0.5, image=0.1)

pytestmark = pytest.mark.usefixtures("builds_micro_networks")


def settings_of(folder, **train):
    return config.settings(MICRO, {"data": {"dir": str(folder)}, "train": train})


def weights_of(run):
    values = []
    with h5py.File(run.weights) as file:
        file.visititems(lambda _, item: values.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    return values


@pytest.mark.parametrize(
    ("seconds", "images", "image", "execution"),
    list(product([120, 1800, 36_000], [1, 100, 5000], [0.01, 1.0], [1, 7])),
)
def test_all_parts_fit_into_the_time_and_little_is_left(seconds, images, image, execution):
    durations = replace(DURATIONS, image=image)
    usable = seconds * (1 - budget.MARGIN)
    if usable < durations.final(1) + 25 + execution + 0.5 + image:
        assert "Training a step and the evaluation take" in refused(lay_out, seconds, durations, images, execution)
        return
    layout = lay_out(seconds, durations, images, execution)
    steps = layout.validations * layout.steps * durations.step
    validating = layout.validations * (durations.validation + layout.images * image)
    final = durations.final(layout.final_images)
    used = durations.first_step + steps + durations.first_validation + validating + final
    spare = usable - used
    assert 0 <= spare + execution * durations.step <= 2 * layout.validations * execution * durations.step + 1
    assert layout.steps % execution == 0
    assert 1 <= layout.images <= images
    assert layout.validations == 1 or validating <= budget.VALIDATING * seconds
    if layout.images < images:  # otherwise there is time for all of them
        assert layout.validations <= budget.LEAST_VALIDATIONS
    if layout.final_images < images:
        assert final <= budget.EVALUATING * seconds + durations.final(0) or layout.final_images == 1


def test_validations_measure_no_more_images_than_the_user_allows():
    assert lay_out(1800, DURATIONS, 100, most_images=20).images == 20
    assert lay_out(1800, DURATIONS, 100, most_images=200).images == 100


def test_a_timed_run_has_the_bits_of_one_with_its_number_of_steps(make_folder, tmp_path, monkeypatch, caplog):
    """The timed beginning leaves no trace: neither in the weights nor in the random numbers."""
    data, timed = make_folder({"train": 8, "val": 5}), tmp_path / "timed"
    monkeypatch.setattr(budget, "lay_out", lambda *_: budget.Layout(validations=2, steps=3, images=2, final_images=1))
    caplog.set_level("INFO")
    run = training.fit(settings_of(data, time="10min"), timed)
    assert Run.open(timed).settings == run.settings
    plan = json.loads(run.plan.read_text())
    assert plan["time"] == "10min"
    assert {choice["setting"] for choice in plan["choices"]} >= {"data.scale"}
    assert set(plan["seconds"]) == {"steps", "validation", "evaluation"}
    options = run.settings.train
    assert (options.epochs, options.steps_per_epoch) == (2, 3)
    assert (run.settings.evaluation.images, run.settings.evaluation.final_images) == (2, 1)
    assert "The time fits 6 steps (3.0 passes over 8 images) and 2 validations of 2 images" in caplog.text

    plain = training.fit(config.settings(config.plain(run.settings)), tmp_path / "plain")
    assert run.history.read_text() == plain.history.read_text()
    assert all(np.array_equal(*pair) for pair in zip(weights_of(run), weights_of(plain), strict=True))

    run.weights.unlink()
    resumed = training.resume(timed)  # it keeps its numbers, and has nothing left to do
    assert resumed.settings == run.settings


def test_a_plan_may_draw_rare_classes(make_folder, tmp_path, monkeypatch):
    """The plan is made after the look at the labels, which then is repeated for the positions of classes."""
    monkeypatch.setattr(rules, "RARE", 1.0)
    monkeypatch.setattr(budget, "lay_out", lambda *_: budget.Layout(1, 1, 1, 1))
    run = training.fit(settings_of(make_folder(), time="10min"), tmp_path / "run")
    assert run.settings.data.rare_classes == 0.5
    assert run.class_positions.is_file()


def test_a_timed_run_evaluates_no_more_images_than_the_user_allows(make_folder):
    data = dataset("folder", make_folder({"train": 2, "val": 5}))
    settings = config.settings(MICRO, {"evaluation": {"final_images": 3}})
    laid_out, _ = budget.fit_into_time(settings, DURATIONS, 1800, data)
    assert laid_out.evaluation.final_images == 3


def test_what_a_timed_beginning_measures_is_long(make_folder, tmp_path, monkeypatch):
    measured = []
    monkeypatch.setattr(
        budget, "lay_out", lambda _, durations, *__: measured.append(durations) or budget.Layout(1, 1, 1, 1)
    )
    training.fit(settings_of(make_folder(), time="10min"), tmp_path / "run")
    (durations,) = measured
    assert durations.first_step > 10 * durations.step > 0
    assert 0 < durations.batch < 1
    assert durations.first_validation > durations.image > 0
    assert durations.validation >= 0
    assert 0 < durations.build < 60


def test_a_late_training_ends_early_and_is_validated(make_folder, tmp_path, monkeypatch, caplog):
    data = make_folder()
    monkeypatch.setattr(budget, "lay_out", lambda *_: budget.Layout(validations=3, steps=100, images=2, final_images=2))
    monkeypatch.setattr(trainer, "measure", lambda *_, **__: replace(DURATIONS, build=0, first_step=0))
    start = time.monotonic() - 600  # so that the time is over
    run = training.fit(settings_of(data, time="10min"), tmp_path / "run", start=start)
    assert "The time is over before the last step" in caplog.text
    assert run.weights.is_file()
    assert len(run.history.read_text().splitlines()) == 2


def test_a_short_time_is_told(make_folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(trainer, "measure", lambda *_, **__: DURATIONS)
    data = make_folder({"train": 40, "val": 2})
    training.fit(settings_of(data, time="72s"), tmp_path / "run")
    assert "The time is too short to see each image once" in caplog.text
    message = refused(training.fit, settings_of(data, time="60s"), tmp_path / "other")
    assert "Give more with --time" in message
    assert not (tmp_path / "other").exists()


def test_a_damaged_file_among_the_timed_images_is_skipped(make_folder, tmp_path, monkeypatch):
    """It is one of 100 validation images, but among those that are timed."""
    data = make_folder({"train": 4, "val": 100})
    damaged = data / "images/val/000.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    monkeypatch.setattr(budget, "lay_out", lambda *_: budget.Layout(validations=1, steps=1, images=4, final_images=100))
    settings = config.settings(settings_of(data, time="10min").model_dump(), {"data": {"on_error": "skip"}})
    run = training.fit(settings, tmp_path / "run")
    assert damaged.name in (run.folder / "skipped.txt").read_text()


def test_a_warm_up_as_long_as_the_training_is_told(make_folder, tmp_path, caplog):
    training.fit(settings_of(make_folder(), epochs=1, steps_per_epoch=2, warmup_steps=2), tmp_path / "run")
    assert "Lower train.warmup_steps. Received: 2 of 2 steps" in caplog.text


@pytest.mark.parametrize(
    ("text", "seconds"), [("30min", 1800), ("2h", 7200), ("90s", 90), ("1h30min", 5400), ("1.5 h", 5400)]
)
def test_times(text, seconds):
    assert config.settings({"train": {"time": text}}).train.seconds == seconds


@pytest.mark.parametrize("text", ["30", 30, "", "min", "-2h", "0min", "2 days", "1e9h", True])
def test_no_times(text):
    message = refused(config.settings, {"train": {"time": text}})
    assert 'hours, minutes or seconds, such as "30min"' in message
