"""Plans for machines and data sets that are described, not present."""

import pytest
import yaml
from helpers import refused

from keras_crosscoop import config, planning
from keras_crosscoop.planning import Data, Machine, facts, rules

GIB = 2**30
LAPTOP = Machine(cores=2, memory=8 * GIB)
STREETS = Data(train=367, val=101, height=360, width=480, frequencies={"road": 0.6, "pole": 0.01, "sky": 0.39})


def gpus(*gib):
    return Machine(cores=16, memory=128 * GIB, gpus=tuple(size * GIB for size in gib), precision="mixed_bfloat16")


def plan(described=STREETS, machine=LAPTOP, **sections):
    return planning.plan(described, machine, config.settings(sections))


def values(described=STREETS, machine=LAPTOP, **sections):
    return {choice.setting: choice.value for choice in plan(described, machine, **sections).choices}


def timed(time):
    return {"train": {"time": time}}


def test_each_rule_chooses_one_existing_setting_once():
    names = [rule.setting for rule in rules.RULES]
    assert len(set(names)) == len(names)
    chosen = config.plain(plan().settings)
    assert all(name.split(".")[1] in chosen[name.split(".")[0]] for name in names)


def test_reasons_are_sentences_of_one_line():
    for machine in (LAPTOP, gpus(8), gpus(*[80] * 8)):
        for choice in plan(machine=machine, **timed("2h")).choices:
            assert 3 < len(choice.reason) < 110
            assert "\n" not in choice.reason


@pytest.mark.parametrize(
    ("machine", "time", "top"),
    [
        (LAPTOP, "10min", "mobilenet_v2"),
        (LAPTOP, "24h", "mobilenet_v2"),
        (gpus(8), "10min", "mobilenet_v2"),
        (gpus(8), "2h", "resnet50"),
        (gpus(80), "2h", "xception65"),
        (gpus(*[80] * 8), "30min", "xception65"),
        (gpus(24), None, "xception65"),
    ],
)
def test_larger_machines_and_longer_times_get_larger_backbones(machine, time, top):
    assert values(machine=machine, **timed(time))["model.top"] == top


@pytest.mark.parametrize(
    ("height", "width", "machine", "crop"),
    [
        (360, 480, LAPTOP, 320),
        (360, 480, gpus(8), 384),
        (256, 256, LAPTOP, 256),
        (3000, 4000, LAPTOP, 320),
        (3000, 4000, gpus(8), 448),  # four images fit
        (3000, 4000, gpus(24), 640),
        (3000, 4000, gpus(40), 768),
        (1024, 2048, gpus(80), 768),
        (512, 512, gpus(80), 512),
        (20, 20, LAPTOP, 128),
    ],
)
def test_crops_are_about_as_large_as_small_images_and_as_the_device_allows(height, width, machine, crop):
    data = Data(train=100, val=10, height=height, width=width, frequencies={"a": 0.5, "b": 0.5})
    assert values(data, machine)["data.crop_size"] == crop


@pytest.mark.parametrize(
    ("machine", "batch_size"), [(LAPTOP, 8), (gpus(8), 8), (gpus(80), 8), (gpus(*[80] * 4), 16), (gpus(*[80] * 8), 16)]
)
def test_batches_split_evenly_over_the_devices(machine, batch_size):
    chosen = values(machine=machine)
    assert chosen["train.batch_size"] == batch_size
    share = batch_size // max(1, len(machine.gpus))
    assert share % chosen["train.accumulation_steps"] == 0


@pytest.mark.parametrize("memory", [2, 4, 8, 16, 80])
def test_what_is_computed_at_a_time_fits_into_the_memory(memory):
    """By the same arithmetic as in docs/training.md, with the paper's pair at 513 pixels."""
    machine = gpus(memory)
    chosen = values(machine=machine, model={"top": "xception65"}, data={"crop_size": 513})
    images = chosen["train.batch_size"] // chosen["train.accumulation_steps"]
    need = 1.25 * images * 513**2 * 15_400 / 2 + 20 * 148e6
    assert images == 1 or need <= 0.8 * memory * GIB
    if images < 8:
        assert 1.25 * 2 * images * 513**2 * 15_400 / 2 + 20 * 148e6 > 0.8 * memory * GIB


def test_without_imagenet_weights_a_tiny_pair_starts_from_random_ones():
    offline = Machine(cores=2, memory=8 * GIB, imagenet=False)
    chosen = values(machine=offline)
    assert (chosen["model.top"], chosen["model.bottom"], chosen["model.weights"]) == (
        "tiny_xception",
        "tiny_resnet",
        None,
    )
    assert values(Data(**{**vars(STREETS), "text": "street scenes road"}))["model.top"] == "tiny_xception"


@pytest.mark.parametrize(
    ("machine", "given", "optimizer", "rate", "decay"),
    [
        (LAPTOP, {}, "adamw", 5e-4, 0.01),
        (LAPTOP, {"batch_size": 2}, "adamw", 2.5e-4, 0.01),
        (LAPTOP, {"optimizer": "sgd"}, "sgd", 0.007, 5e-4),
        (gpus(80), {"batch_size": 12}, "sgd", 0.014, 5e-4),
        (gpus(80), {"optimizer": "adamw"}, "adamw", 6e-5, 0.01),
        (Machine(cores=2, memory=8 * GIB, imagenet=False), {}, "sgd", 0.1, 1e-4),
    ],
)
def test_rates_follow_the_backbone_unless_the_user_has_another_optimizer(machine, given, optimizer, rate, decay):
    chosen = plan(machine=machine, train=given).settings.train
    assert (chosen.optimizer, chosen.learning_rate, chosen.weight_decay) == (optimizer, rate, decay)


@pytest.mark.parametrize(
    ("title", "classes", "orientation"),
    [
        ("my cells", "ab", "any"),
        ("rock thin section", "ab", "any"),
        ("land cover", "ab", "any"),
        ("streets", "ab", "upright"),
        ("camvid", ["sky", "building", "pole", "road"], "upright"),
        ("trails", ["grass", "tree", "rock"], "upright"),
        ("desk", ["Cell_phone", "keyboard"], "upright"),
        ("airport", ["sky", "drone"], "upright"),
        ("images", ["background", "Nuclei"], "any"),
        ("folder", ["grain", "sky"], "upright"),
    ],
)
def test_pictures_without_an_up_are_known_by_their_words(title, classes, orientation):
    frequencies = dict.fromkeys(classes, 1 / len(classes))
    assert (
        values(Data(**{**vars(STREETS), "text": title, "frequencies": frequencies}))["data.orientation"] == orientation
    )


def test_small_crops_on_a_gpu_make_larger_batches():
    tiles = Data(train=20_000, val=10, height=256, width=256, frequencies={"a": 0.5, "b": 0.5})
    assert values(tiles, gpus(80))["train.batch_size"] == 16
    assert values(tiles)["train.batch_size"] == 8


@pytest.mark.parametrize(
    ("machine", "images", "batch_size"),
    [(LAPTOP, 3, 3), (gpus(*[8] * 4), 13, 12), (gpus(*[8] * 4), 3, 4), (gpus(*[8] * 4), 16, 16)],
)
def test_few_images_make_small_batches_that_split_evenly(machine, images, batch_size):
    data = Data(train=images, val=1, height=100, width=100, frequencies={"a": 0.5, "b": 0.5})
    assert values(data, machine)["train.batch_size"] == batch_size


def test_backbones_with_options_follow_the_same_rules_as_their_names():
    named, mapping = (values(model={"top": top}) for top in ("mobilenet_v2", {"name": "mobilenet_v2"}))
    del named["model.top"], mapping["model.top"]
    assert named == mapping


def test_only_tiny_backbones_start_from_random_weights():
    drawings = Data(**{**vars(STREETS), "text": "street scenes road"})
    weights = values(drawings, model={"top": "resnet50"})["model.weights"]
    assert weights == {"top": "imagenet", "bottom": None}
    assert values(drawings, model={"bottom": None})["model.weights"] is None


def test_precision_auto_counts_by_the_precision_of_the_device():
    size = {"data": {"crop_size": 321}}
    small = Machine(cores=2, memory=4 * GIB, precision="float32")
    automatic, full = (values(machine=small, train={"precision": name}, **size) for name in ("auto", "float32"))
    assert automatic["train.accumulation_steps"] == full["train.accumulation_steps"] > 1


def test_settings_that_a_time_replaces_are_warned_of():
    (line,) = plan(train={"time": "1h", "epochs": 3}).warnings
    assert line.startswith("train.time replaces train.epochs:")
    assert plan(train={"epochs": 3}).warnings == ()


@pytest.mark.parametrize(
    ("frequencies", "weight"),
    [
        ({"a": 0.95, "b": 0.05}, 1.0),
        ({"a": 0.6, "b": 0.4}, 0.0),
        ({"a": 0.9, "b": 0.05, "c": 0.05}, 1.0),
        ({"a": 0.6, "b": 0.4, "never": 0.0}, 0.0),
    ],
)
def test_dice_and_rare_class_sampling_are_for_rare_classes(frequencies, weight):
    data = Data(train=60, val=10, height=512, width=512, frequencies=frequencies)
    chosen = values(data)
    assert (chosen["loss.dice_weight"], chosen["data.rare_classes"]) == (weight, weight / 2)


def test_rare_classes_are_not_looked_for_if_that_takes_long():
    data = Data(train=60_000, val=10, height=512, width=512, frequencies={"a": 0.95, "b": 0.05})
    assert values(data, **timed("30min"))["data.rare_classes"] == 0.0
    assert values(data, **timed("10h"))["data.rare_classes"] == 0.5
    assert values(data)["data.rare_classes"] == 0.5


def test_the_users_settings_are_kept_and_others_follow_them():
    plan_ = plan(data={"crop_size": 65, "scale": [1, 1]}, model={"bottom": None}, train={"batch_size": 5})
    given = {choice.setting for choice in plan_.choices if choice.given}
    assert given == {"data.crop_size", "data.scale", "model.bottom", "train.batch_size"}
    assert plan_.settings.data.crop_size == 65
    assert plan_.settings.model.bottom is None


@pytest.mark.parametrize(
    ("extents", "scale"),
    [({}, (0.25, 1)), ({"a": 2000, "b": 100}, (0.25, 1)), ({"a": 2000, "b": 32}, (0.5, 1)), ({"b": 5}, (0.75, 2))],
)
def test_large_images_shrink_while_objects_stay_visible(extents, scale):
    photos = Data(train=80, val=20, height=3000, width=4000, frequencies={"a": 0.9, "b": 0.1}, extents=extents)
    assert values(photos)["data.scale"] == scale


def test_few_images_and_steps_beyond_the_memory_are_warned_of():
    assert plan().warnings == ()
    few = Data(train=8, val=2, height=3000, width=4000, frequencies={"a": 0.5, "b": 0.5})
    assert [line[:23] for line in plan(few).warnings] == ["Only 8 training images:"]
    strips = Data(train=80, val=2, height=7, width=5000, frequencies={"a": 0.5, "b": 0.5})
    (line,) = plan(strips).warnings
    assert line.startswith("Images of 7x5000 fill 5 % of a crop of 128 pixels")
    (line,) = plan(machine=gpus(8), train={"batch_size": 64, "accumulation_steps": 1}).warnings
    assert line.startswith("A training step takes about")
    assert line.endswith("raise train.accumulation_steps.")


def test_epochs_are_planned_without_a_time_alone():
    assert "train.epochs" not in values(**timed("1h"))
    assert values()["train.epochs"] * 367 >= 4_000 * 8


@pytest.mark.parametrize("sections", [{}, {"model": {"bottom": None}}, timed("2h")])
def test_a_plan_written_as_a_recipe_gives_the_same_settings(sections):
    plan_ = plan(machine=gpus(8), **sections)
    recipe = plan_.recipe()
    assert config.settings(yaml.safe_load(recipe)) == plan_.settings
    crop = next(choice for choice in plan_.choices if choice.setting == "data.crop_size")
    assert f"  crop_size: {crop.value}  # {crop.reason}\n" in recipe


def test_settings_that_contradict_the_plan_are_refused():
    message = refused(plan, model={"bottom": None}, loss={"weights": {"bottom": 2.0}})
    assert "loss.weights" in message


def test_time_and_steps_contradict_each_other():
    message = refused(plan, train={"time": "10min", "steps_per_epoch": 3})
    assert "Leave out train.time or train.steps_per_epoch" in message


def test_imagenet_weights_are_looked_for_unless_weights_are_given(monkeypatch):
    monkeypatch.setattr(facts, "imagenet_is_available", lambda *_: False)
    files = {"top": "/a.weights.h5", "bottom": "/b.weights.h5"}
    assert planning.describe_machine(config.settings({"model": {"weights": files}})).imagenet
    assert not planning.describe_machine(config.settings()).imagenet


def test_facts_of_a_data_set(make_folder):
    from keras_crosscoop.data import dataset
    from keras_crosscoop.data.checks import survey

    folder = make_folder({"train": 5, "val": 2}, (40, 48))
    data = dataset(folder)
    described = planning.describe_data(data, survey(data, ["train", "val"]), config.settings())
    assert (described.train, described.val, described.height, described.width) == (5, 2, 40, 48)
    assert sum(described.frequencies.values()) == pytest.approx(1)
    assert set(described.frequencies) == set(data.classes)
    assert 1 <= min(described.extents.values()) <= max(described.extents.values()) <= (40 * 48) ** 0.5
