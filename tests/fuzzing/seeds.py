"""Small valid files of every kind that the package reads, and how it reads them."""

import io
import itertools
import json
import shutil
from functools import partial
from pathlib import Path

import google_crc32c
import numpy as np
import tensorflow as tf
from fuzzing import mutations
from fuzzing.seed import Seed, in_file
from fuzzing.weight_seeds import weights
from PIL import Image

from keras_crosscoop import config, dataset
from keras_crosscoop.data import prepare
from keras_crosscoop.data.prepare import plan
from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.report import charts, write_comparison, write_report
from keras_crosscoop.evaluation.run_metrics import read_metrics
from keras_crosscoop.images.decoding import image_reader, label_reader
from keras_crosscoop.images.io import image_size, label_size, read_image
from keras_crosscoop.runs import Run

FOREIGN = ("a.dds", "a.tga", "a.jp2", "a.ico", "a.pcx", "a.sgi", "a.im")  # formats that Pillow alone knows


def images(folder):
    """Pictures and labels, of the formats that cameras and tools write."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (5, 7, 3), np.uint8)
    colours = Image.fromarray(coarse).resize((61, 43))
    grey = colours.convert("L")
    indexed = Image.fromarray(rng.integers(0, 4, (43, 61), np.uint8), "L")
    palette = indexed.copy()
    palette.putpalette(rng.integers(0, 256, 768, np.uint8).tolist())
    deep = Image.fromarray(rng.integers(0, 65536, (43, 61)).astype(np.uint16))
    turned = Image.Exif()
    turned[0x0112] = 6
    pictures = {
        "a.png": (colours, {}),
        "b.png": (palette, {}),
        "c.png": (deep, {}),
        "d.png": (colours.convert("RGBA"), {}),
        "a.jpg": (colours, {}),
        "b.jpg": (colours, {"exif": turned}),
        "c.jpg": (colours.convert("CMYK"), {}),
        "d.jpg": (grey, {"progressive": True}),
        "a.tif": (colours, {}),
        "b.tif": (deep, {"compression": "tiff_deflate"}),
        "c.tif": (colours, {"compression": "tiff_lzw"}),
        "a.bmp": (colours, {}),
        "b.bmp": (palette, {}),
        "a.gif": (palette, {}),
        "a.webp": (colours, {}),
        "a.dds": (colours, {}),
        "a.tga": (colours, {}),
        "a.ppm": (colours, {}),
        "b.pgm": (grey, {}),
        "a.jp2": (colours, {}),
        "a.ico": (colours, {}),
        "a.pcx": (colours, {}),
        "a.sgi": (colours, {}),
        "a.im": (colours, {}),
    }
    examples = []
    for name, (picture, options) in pictures.items():
        buffer = io.BytesIO()
        picture.save(buffer, Image.registered_extensions()[Path(name).suffix], **options)
        for ending in {Path(name).suffix, ".png"}:  # files are not always what they are called
            path = folder / f"{Path(name).stem}-{name[2:]}{ending}"
            read = partial(in_file, path, _picture)
            mutate = mutations.of_png if name.endswith(".png") else mutations.of_bytes
            examples.append(Seed(path.name, buffer.getvalue(), mutate, read, name not in FOREIGN))
    for name, picture in {"label.png": indexed, "palette.png": palette, "deep.png": deep, "label.tif": indexed}.items():
        buffer = io.BytesIO()
        picture.save(buffer, Image.registered_extensions()[Path(name).suffix])
        mutate = mutations.of_png if name.endswith(".png") else mutations.of_bytes
        examples.append(Seed(name, buffer.getvalue(), mutate, partial(in_file, folder / name, _label)))
    return examples


def _picture(path):
    failures: list[InputError] = []
    for read in (image_size, read_image, lambda path: _all(image_reader(path))):
        _tried(read, path, failures)
    _raise(failures)


def _label(path):
    failures = []
    for read in (label_size, lambda path: _all(label_reader(path))):
        _tried(read, path, failures)
    _raise(failures)


def _tried(read, path, failures):
    """Each way of reading is tried, though another refuses the file."""
    try:
        read(path)
    except InputError as error:
        failures.append(error)


def _raise(failures):
    if failures:
        raise failures[0]


def _all(encoded):
    (height, width), window = encoded
    return window(slice(0, height), slice(0, width))


def yaml(folder):
    """The shipped recipes, and the settings of a run."""
    recipes = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
    contents = {path.name: path.read_bytes() for path in recipes}
    contents["config.yaml"] = config.dump(config.settings()).encode()

    def read(path):
        config.settings(config.read(path))

    def assigned(content):
        for line in content.decode(errors="replace").splitlines()[:20]:
            config.settings({}, config.parse(line.replace(":", "=", 1)))

    examples = [
        Seed(name, content, mutations.of_text, partial(in_file, folder / name, read))
        for name, content in contents.items()
    ]
    assignments = b"train.epochs: 3\ndata.scale: [0.5, 2.0]\nmodel.top: {name: mobilenet, alpha: 0.5}\nloss.weights: {}"
    return [*examples, Seed("--set", assignments, mutations.of_text, assigned)]


class Linear:
    """What `Inference` needs of a model, at once there: logits that are linear in the colours."""

    sides = "top", "bottom"
    output_choices = "top", "bottom", "ensemble"

    def __call__(self, image, training):
        return {side: tf.tensordot(image, tf.ones((3, 3)), 1) for side in self.sides}


def _folder(folder):
    """A data set of the kind "folder" with three classes."""
    root, rng = folder / "mine", np.random.default_rng(0)
    for split, count in {"train": 3, "val": 2}.items():
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            ids = Image.fromarray(rng.integers(0, 3, (12, 16), np.uint8))
            ids.save(root / "masks" / split / f"{index}.png")
            noise = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
            noise.save(root / "images" / split / f"{index}.png")
    (root / "classes.txt").write_text("road\nsky\ncar\n")
    return root


def run_files(folder):
    """What a run's folder holds beside its weights, and what reports read of it."""
    root = _folder(folder)
    settings = config.settings({"data": {"name": "folder", "dir": root}, "train": {"epochs": 3}})
    data = dataset("folder", root)
    shutil.rmtree(folder / "run", ignore_errors=True)
    run = Run.create(folder / "run", settings, data)
    outputs = Linear.output_choices
    of_output = {
        **dict.fromkeys(("mean_iou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou", "mean_dice"), 0.5),
        **dict.fromkeys(("mean_boundary_f", "calibration_error"), 0.5),
        "per_class": {name: dict.fromkeys(("iou", "accuracy", "dice", "boundary_f"), 0.5) for name in data.classes},
        "confusion": [[5, 1, 2], [1, 5, 2], [0, 0, 9]],
        "calibration": {name: [None, *[0.5] * 14] for name in ("confidence", "accuracy")} | {"pixels": [0, *[9] * 14]},
    }
    metrics = {
        **{"dataset": "folder", "split": "val", "images": 2, "skipped": [], "crop": None, "window": None},
        **{"overlap": 1 / 3, "scales": [1.0], "flip": False, "boundary_tolerance": 3, "seconds_per_image": 0.25},
        "outputs": dict.fromkeys(outputs, of_output),
        "disagreement": dict.fromkeys(("share", "top_right", "bottom_right", "neither_right", "ensemble_right"), 0.5),
        "per_image": [
            {
                "image": f"{index}.png",
                "mean_iou": dict.fromkeys(outputs, 0.5),
                "pixel_accuracy": dict.fromkeys(outputs, 0.5),
            }
            for index in range(2)
        ],
    }
    (run.folder / "metrics.json").write_text(json.dumps(metrics))
    names = ("loss", *(f"{side}_loss" for side in Linear.sides), *(f"val_{output}_mean_iou" for output in outputs))
    rows = [",".join(("epoch", *names)), *(",".join([str(epoch), *["0.5"] * len(names)]) for epoch in range(1, 4))]
    (run.folder / "history.csv").write_text("\n".join(rows) + "\n")
    files = {
        "metrics.json": mutations.of_json,
        "classes.json": mutations.of_json,
        "history.csv": mutations.of_csv,
        "config.yaml": mutations.of_text,
    }
    whole = {name: (run.folder / name).read_bytes() for name in files}
    shutil.copytree(run.folder, folder / "other", dirs_exist_ok=True)
    Run.load = lambda self: Linear()  # weights are another kind
    draw, count = charts._svg, itertools.count()

    def draw_some(figure, alt):  # Drawing takes half of the time.
        return draw(figure, alt) if next(count) % 16 == 0 else charts.Chart("", alt)

    charts._svg = draw_some

    def reported(content, name, compare):
        for file, other in whole.items():
            (run.folder / file).write_bytes(content if file == name else other)
        opened = Run.open(run.folder)
        data = dataset(opened.settings.data.name, opened.settings.data.dir)
        opened.check_classes(data)
        metrics = read_metrics(opened, data)
        if compare:
            with_other = Run.open(folder / "other")
            other_metrics = read_metrics(with_other, data)
            write_comparison([(with_other, other_metrics, data), (opened, metrics, data)], folder / "c.html")
        else:
            write_report(opened, metrics, Linear(), data)

    return [
        Seed(name, whole[name], mutate, partial(reported, name=name, compare=compare))
        for name, mutate in files.items()
        for compare in (False, True)
    ]


def records(folder):
    """A data set as records: its shards, and what describes them."""
    root = _folder(folder)
    shutil.rmtree(folder / "records", ignore_errors=True)
    written = prepare.write(plan("folder", root, folder / "records"))
    shard = next(written.glob("*train.tfrecord*"))

    def read(path):
        records = dataset("folder", written)
        for split in records.splits:
            for image, label in records.pairs(split):
                f"{image} {image.name}"  # as errors and reports do
                records.read(image, label)

    whole = {path.name: path.read_bytes() for path in written.iterdir()}

    def run(content, name):
        for file in (shard.name, "dataset_info.json", "metadata.json"):
            (written / file).write_bytes(content if file == name else whole[file])
        read(written)

    return [
        Seed(name, whole[name], mutate, partial(run, name=name))
        for name, mutate in (
            (shard.name, mutations.of_bytes),
            (shard.name, _of_signed),
            (shard.name, _of_signed),
            ("dataset_info.json", mutations.of_json),
            ("metadata.json", mutations.of_json),
        )
    ]


def _of_signed(content, rng, others=()):
    """A damaged record with checksums that fit: what somebody else's program might write."""
    records, at = [], 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 8], "little")
        records.append(content[at + 12 : at + 12 + length])
        at += 16 + length
    place = rng.randrange(len(records))
    record = records[place]
    names = [at for name in (b"shape", b"value", b"name") for at in _occurrences(record, name)]
    if rng.random() < 0.5 and names:  # near a name, where lengths stand: pixels may be anything
        start = max(0, rng.choice(names) - 16)
        record = record[:start] + mutations.of_bytes(record[start : start + 48], rng) + record[start + 48 :]
    else:
        record = mutations.of_bytes(record, rng)
    records[place] = record
    return b"".join(map(_signed, records))


def _occurrences(data, name):
    at = data.find(name)
    while at >= 0:
        yield at
        at = data.find(name, at + 1)


def _signed(record):
    def masked(data):
        crc = google_crc32c.value(data)
        return ((crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF).to_bytes(4, "little")

    length = len(record).to_bytes(8, "little")
    return length + masked(length) + record + masked(record)


KINDS = {"image": images, "weights": weights, "yaml": yaml, "json": run_files, "record": records}
