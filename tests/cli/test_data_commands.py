"""`crosscoop-tf data list`, `check` and `show`, from options to files and exit codes."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY_FIT
from PIL import Image

from keras_crosscoop import config, load_dataset, training
from keras_crosscoop.data import CATALOGUE, dataset
from keras_crosscoop.data.previews import GAP
from keras_crosscoop.images.overlays import blend
from keras_crosscoop.images.palettes import VOID_COLOUR


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_list_shows_the_catalogue_in_100_columns(crosscoop, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = crosscoop("data", "list")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    for name, entry in CATALOGUE.items():
        assert f" {name} " in out
        assert entry.source in out  # in one piece, to copy
    assert "train 367, val 101, test 233" in out


def test_list_as_json_is_the_catalogue(crosscoop):
    listed = json.loads(crosscoop("data", "list", "--json").out)
    assert list(listed) == list(CATALOGUE)
    assert listed["camvid"]["splits"] == {"train": 367, "val": 101, "test": 233}
    assert listed["camvid"]["classes"] == 11
    assert listed["folder"] == {
        "classes": None,
        "splits": {"train": None, "val": None, "test": None},
        "layout": CATALOGUE["folder"].layout,
        "source": "your own images",
        "licence": "yours",
        "needs_folder": True,
    }


def test_check_of_a_good_data_set(crosscoop, halves, tmp_path):
    code, out, err = crosscoop("data", "check", "folder", "--data-dir", halves)
    assert code == 0
    rows = [line.replace("│", " ").split() for line in out.splitlines()]
    assert ["train", "8", "48x32:", "8", "0.0%"] in rows
    assert ["dark", "50.00%", "8", "50.00%", "3", "█" * 20] in rows
    assert out.startswith("Images: images/{split}/{name}.")
    assert "No problems: 11 images and their labels were read." in out
    assert "Traceback" not in err
    assert list(tmp_path.glob("*.png")) == []


def test_check_lists_problems_and_exits_with_1(crosscoop, make_folder):
    """One cause in one line, however many files it has, with three of their names."""
    root = make_folder({"train": 7, "val": 2})
    bad = [root / f"images/train/{number:03}.png" for number in range(5)] + [root / "images/val/000.png"]
    for file in bad:
        file.write_text("no image")
    (root / "masks/train/006.png").unlink()
    code, out, err = crosscoop("data", "check", "folder", "--data-dir", root)
    assert code == 1
    problems = [line for line in out.splitlines() if line.startswith("problem: ")]
    unreadable, unpaired = sorted(problems, key=lambda line: "no mask" in line)
    assert unpaired.startswith("problem: 1 of 7 images in train have no mask.")
    assert unpaired.endswith(" Received: images/train/006.png")
    assert unreadable.startswith("problem: 6 times: The file is not a readable image")
    assert unreadable.rpartition(" Received: ")[2] == f"{bad[0]}, {bad[1]}, {bad[2]} and 3 more"
    assert "7 problems; images without problems: 2." in out
    assert "Traceback" not in err
    code, out, _ = crosscoop("data", "check", "folder", "--data-dir", root, "--split", "val")
    assert code == 1
    assert "1 problem; images without problems: 1." in out


def test_check_as_json_is_one_object(crosscoop, make_folder):
    root = make_folder()
    code, out, err = crosscoop("data", "check", "folder", "--data-dir", root, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["ok"] is True
    (root / "masks/val/000.png").write_text("no label")
    code, out, err = crosscoop("data", "check", "folder", "--data-dir", root, "--json")
    report = json.loads(out)
    assert (code, err, report["ok"]) == (1, "", False)
    assert report["findings"][0]["files"] == [str(root / "masks/val/000.png")]


def test_the_documented_way_from_class_weights_to_a_training(crosscoop, make_folder, monkeypatch):
    """The command of docs/data.md, with another data set, up to the start of training."""
    begun = []
    monkeypatch.setattr(training, "fit", lambda settings, *_, **__: begun.append(settings) or sys.exit(9))
    text = (Path(__file__).parents[2] / "docs/data.md").read_text()
    (command,) = re.findall(r"^crosscoop-tf (fit .* --set \"\$\(.* --weights\)\")$", text, re.MULTILINE)
    root = make_folder()
    command = command.replace("cityscapes --data-dir DIR", f"folder --data-dir {root}")
    outer, inner = re.fullmatch(r'(.*)"\$\(crosscoop-tf (.*)\)"', command).groups()
    weights = crosscoop(*inner.split()).out.strip()
    assert crosscoop(*outer.split(), weights).code == 9
    class_weights = begun[0].loss.class_weights
    assert class_weights.keys() == {"road", "sky", "car"}
    frequencies = np.zeros(3)
    for path in (root / "masks/train").iterdir():
        frequencies += np.bincount(np.asarray(Image.open(path)).ravel(), minlength=256)[:3]
    np.testing.assert_allclose(list(class_weights.values()), np.median(frequencies) / frequencies, rtol=1e-3)


def test_without_weights_there_is_no_training(crosscoop, make_folder):
    """Where `data check` finds a problem it prints none, and `fit` is given nothing."""
    code, _, err = crosscoop("fit", f"--data-dir={make_folder()}", *TINY_FIT, "--set", "")
    assert code == 2
    assert "A setting must be section.key=value" in err


def test_check_prints_weights_that_a_config_takes(crosscoop, tmp_path):
    root = tmp_path / "unequal"
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
    (root / "classes.txt").write_text("dark\nyes\nbright\n")  # "yes", unquoted, would be a boolean
    ids = np.array([[0, 0, 1, 1, 1, 1, 2, 2], [2] * 8], np.uint8)  # 2, 4 and 10 of 16
    for split in ("train", "val"):
        Image.fromarray(ids).save(root / f"masks/{split}/0.png")
    Image.new("RGB", (8, 2)).save(root / "images/train/0.png")
    (root / "images/val/0.png").write_text("no image")

    code, out, err = crosscoop("data", "check", "folder", "--data-dir", root, "--weights")
    assert (code, err.strip()) == (0, "")
    assert out.startswith("loss.class_weights={")
    assert config.parse(out) == {"loss": {"class_weights": {"dark": 2.0, "yes": 1.0, "bright": 0.4}}}
    assert out.count("\n") == 1

    section = f"loss:\n  dice_weight: 1\n  class_weights: {out.partition('=')[2]}"
    (tmp_path / "my.yaml").write_text(section)
    assert config.read(tmp_path / "my.yaml") == {"loss": {"dice_weight": 1, **config.parse(out)["loss"]}}
    sheet = ("data", "show", "folder", "--data-dir", root, "--set=data.crop_size=8", "--count=1")
    assert crosscoop(*sheet, "--config", "my.yaml").code == 0
    (tmp_path / "my.yaml").write_text(f"{section}loss: {{}}\n")
    code, _, err = crosscoop(*sheet, "--config", "my.yaml", "--force")
    assert (code, err.splitlines()) == (
        2,
        [
            'crosscoop-tf: The config is not valid YAML (line 4, column 1: "loss" is given twice). Received: my.yaml',
        ],
    )

    code, out, err = crosscoop("data", "check", "folder", "--data-dir", root, "--weights", "--split", "val")
    assert code == 1  # no weights from a part of the data
    assert out == ""
    assert err.startswith("problem: The file is not a readable image")


def test_check_weighs_one_split(crosscoop, halves):
    code, _, err = crosscoop("data", "check", "folder", "--data-dir", halves, "--weights", "--json")
    assert code == 2
    assert "--weights prints the weights of one --split" in err


def test_check_draws_a_chart_in_the_colours_of_the_classes(crosscoop, halves, tmp_path):
    arguments = ("data", "check", "folder", "--data-dir", halves, "--chart", "chart.png")
    assert crosscoop(*arguments).code == 0
    chart = pixels(tmp_path / "chart.png")
    areas = [int((chart == colour).all(-1).sum()) for colour in ((0x10, 0x20, 0x30), (0xF0, 0xE0, 0xD0))]
    assert min(areas) > 1000
    assert areas[0] == pytest.approx(areas[1], rel=0.05)  # half of the pixels each
    code, _, err = crosscoop(*arguments)
    assert code == 2
    assert "--force" in err
    assert crosscoop(*arguments, "--force").code == 0


@pytest.mark.parametrize(
    ("name", "reason"), [("chart.jpg", "must end in .png."), ("missing/chart.png", "Make it, or name another.")]
)
def test_check_refuses_a_chart_before_it_reads_anything(crosscoop, halves, tmp_path, name, reason):
    code, out, err = crosscoop("data", "check", "folder", "--data-dir", halves, "--chart", name)
    assert (code, out) == (2, "")
    assert f"{reason} Received: {name}" in err
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


def test_check_of_an_unknown_data_set(crosscoop):
    code, _, err = crosscoop("data", "check", "camvit")
    assert code == 2
    assert 'Did you mean "camvid"?' in err


SHOW = (
    *("data", "show", "folder", "--set=data.crop_size=24", "--set=data.scale=[0.5,2]", "--set=data.rare_classes=0"),
    *("--seed=5", "--count=4"),
)


def test_show_draws_the_samples_of_training(crosscoop, halves, tmp_path):
    code, out, _ = crosscoop(*SHOW, "--data-dir", halves)
    assert code == 0
    assert "folder_train.png" in out
    sheet = pixels(tmp_path / "folder_train.png")
    stream = load_dataset(
        "folder", "train", data_dir=halves, training=True, crop_size=24, scale=(0.5, 2), seed=5, repeat=True
    )
    palette = ((0x10, 0x20, 0x30), (0xF0, 0xE0, 0xD0))
    for number, (image, ids) in enumerate(stream.take(4).as_numpy_iterator()):
        y, x = (number // 3) * (24 + GAP), (number % 3) * (48 + GAP)  # three pairs a row
        np.testing.assert_array_equal(sheet[y : y + 24, x : x + 24], image)
        np.testing.assert_array_equal(sheet[y : y + 24, x + 24 : x + 48], blend(image, ids, palette))
    legend = {tuple(pixel) for row in sheet[2 * 24 + GAP :] for pixel in row.tolist()}
    assert {*palette, VOID_COLOUR} <= legend


def test_show_draws_other_samples_of_another_seed_or_split(crosscoop, halves, tmp_path):
    assert crosscoop(*SHOW, "--data-dir", halves, "--output=a.png").code == 0
    assert crosscoop(*SHOW, "--data-dir", halves, "--output=b.png", "--seed=6").code == 0
    assert crosscoop(*SHOW, "--data-dir", halves, "--split=val").code == 0
    first, other, of_val = (pixels(tmp_path / name)[:56, :160] for name in ("a.png", "b.png", "folder_val.png"))
    assert (first != other).any()
    assert (first != of_val).any()


def test_show_shrinks_large_samples(crosscoop, halves, tmp_path):
    arguments = ("--set=data.crop_size=640", "--count=1", "--output=large.png")
    assert crosscoop(*SHOW, "--data-dir", halves, *arguments, "--set=data.scale=[8,8]").code == 0
    assert pixels(tmp_path / "large.png").shape[1] == 2 * 320


def test_show_draws_small_images_with_little_padding(crosscoop, halves, tmp_path):
    """The crop shrinks to the largest scaled image, of 48 x 32 pixels here; the samples stay the same."""
    for size in (96, 640):
        options = (f"--set=data.crop_size={size}", f"--output={size}.png", "--set=data.flip=false")
        assert crosscoop(*SHOW, "--data-dir", halves, *options).code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "96.png"), pixels(tmp_path / "640.png"))
    assert crosscoop(*SHOW, "--data-dir", halves, *options, "--set=data.rotation=9", "--force").code == 0
    assert pixels(tmp_path / "640.png").shape[1] == 3 * 640 + 2 * GAP


def test_describe_prints_one_line_a_cause(crosscoop, make_folder):
    root = make_folder()
    for number in range(4):
        (root / f"more/{number}").mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(root / f"more/{number}/{number}.png")
    code, _, err = crosscoop("data", "describe", root)
    notes = [line for line in err.splitlines() if line.startswith("note: ")]
    assert code == 0
    assert notes == [
        "note: 4 times: 1 file in more/0 was left out: neither an image of a split nor its mask. "
        "Received: 0.png, 1.png, 2.png and 1 more"
    ]


def test_messages_name_the_users_description(crosscoop, make_folder, tmp_path):
    root = make_folder()
    (root / "classes.txt").unlink()
    (tmp_path / "my.yaml").write_text(f"path: {root}\nnames: [road, sky]\n")
    code, out, err = crosscoop("data", "describe", "my.yaml")
    assert (code, out) == (2, "")
    assert "has no name in my.yaml, which can be read in 2 ways: " in err
    assert "Write one of them into my.yaml." in err
    assert "dataset.yaml" not in err
    (tmp_path / "my.yaml").write_text(f"path: {root}\nnames: [road, sky, car]\n")
    assert "The classes are named in my.yaml." in crosscoop("data", "describe", "my.yaml").err


def test_show_overwrites_only_with_force(crosscoop, halves, tmp_path):
    (tmp_path / "mine.png").write_text("mine")
    code, _, err = crosscoop(*SHOW, "--data-dir", halves, "--output=mine.png")
    assert code == 2
    assert "--force" in err
    assert (tmp_path / "mine.png").read_text() == "mine"
    assert crosscoop(*SHOW, "--data-dir", halves, "--output=mine.png", "--force").code == 0
    assert pixels(tmp_path / "mine.png").shape[1] == 3 * 48 + 2 * GAP


def test_show_names_the_picture_after_the_folder(crosscoop, halves, tmp_path):
    code, out, _ = crosscoop("data", "show", str(halves), *SHOW[3:])
    assert (code, out) == (0, f"Samples: {halves.name}_train.png\n")
    assert (tmp_path / f"{halves.name}_train.png").is_file()


def test_show_names_the_picture_after_a_name_with_a_slash(crosscoop, halves, monkeypatch, tmp_path):
    monkeypatch.setattr("keras_crosscoop.data.dataset", lambda name, folder: dataset("folder", halves))
    assert crosscoop("data", "show", "tfds:a/b:1.0.0", *SHOW[3:]).out == "Samples: tfds-a-b-1.0.0_train.png\n"
    assert (tmp_path / "tfds-a-b-1.0.0_train.png").is_file()


def test_show_names_a_file_that_cannot_be_used(crosscoop, make_folder, tmp_path):
    root = make_folder(size=(64, 64))
    for file in (root / "images/train").iterdir():
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    code, _, err = crosscoop(*SHOW, "--data-dir", root)
    assert code == 2
    (line,) = (line for line in err.splitlines() if line.startswith("crosscoop-tf: "))
    assert f"Received: {root / 'images/train'}" in line
    assert "Traceback" not in err
    assert list(tmp_path.glob("*.png")) == []
