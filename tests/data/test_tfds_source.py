"""Data sets of TensorFlow Datasets, read from records that a local builder writes."""

import re

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from keras_crosscoop import config, dataset
from keras_crosscoop.data import prepare, tfds_source
from keras_crosscoop.data.pipeline import load_dataset
from keras_crosscoop.errors import InputError
from keras_crosscoop.runs import Run

COUNTS = {"train": 10, "test": 3}


def picture(split, number):
    return np.random.default_rng([number, len(split)]).integers(0, 256, (20 + number, 24, 3), np.uint8)


def trimap(split, number):
    """A pet (1) before a background (2), with a border (3)."""
    ids = np.full((20 + number, 24), 2, np.uint8)
    ids[3:16, 2 : 18 + number % 3] = 3
    ids[5:13, 6 : 14 + number % 3] = 1
    return ids


def write(root, name, features, example, *, counts=COUNTS, file_format="tfrecord", version="4.0.0"):
    """Writes the records of a data set into a folder of TFDS."""

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)
        code_path = None

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in counts}

        def _generate_examples(self, split):
            for number in range(counts[split]):
                yield number, example(split, number)

    Builder.name = name
    builder = Builder(data_dir=str(root), file_format=file_format)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))


def pets(split, number):
    """An example of oxford_iiit_pet."""
    return {
        "image": picture(split, number),
        "label": number % 2,
        "species": number % 2,
        "file_name": f"pet_{split}_{number}.jpg",
        "segmentation_mask": trimap(split, number)[..., None],
        "head_bbox": tfds.features.BBox(0.1, 0.1, 0.5, 0.5),
    }


def pet_features(**masks):
    return {
        "image": tfds.features.Image(encoding_format="png"),  # the original is JPEG
        "label": tfds.features.ClassLabel(num_classes=37),
        "species": tfds.features.ClassLabel(num_classes=2),
        "file_name": tfds.features.Text(),
        "segmentation_mask": tfds.features.Image(shape=(None, None, 1), use_colormap=True),
        "head_bbox": tfds.features.BBoxFeature(),
        **masks,
    }


@pytest.fixture(scope="module", params=["tfrecord", "array_record"])
def pets_dir(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    write(root, "oxford_iiit_pet", pet_features(), pets, file_format=request.param)
    return root


def test_pets(pets_dir):
    """Of the registered builder, without a validation split: every pixel is what was written."""
    data = dataset("tfds:oxford_iiit_pet", pets_dir)
    assert data.classes == ("pet", "background", "border")
    assert data.splits == ("train", "val", "test")
    numbers = {split: [int(image.name.split("_")[2][:-4]) for image, _ in data.pairs(split)] for split in data.splits}
    assert sorted(numbers["train"] + numbers["val"]) == list(range(10))
    assert len(numbers["val"]) == 2
    assert sorted(numbers["test"]) == [0, 1, 2]
    for split in data.splits:
        theirs = "test" if split == "test" else "train"
        for number, pair in zip(numbers[split], data.pairs(split), strict=True):
            image, label = data.read(*pair)
            np.testing.assert_array_equal(image, picture(theirs, number))
            np.testing.assert_array_equal(label, trimap(theirs, number) - 1)


def test_training_samples(pets_dir):
    options = {"crop_size": 16, "batch_size": 2, "training": True}
    batch = next(iter(load_dataset("tfds:oxford_iiit_pet", "train", data_dir=pets_dir, **options)))
    assert batch[0].shape == (2, 16, 16, 3)
    assert set(np.unique(batch[1])) <= {0, 1, 2, 255}
    rare = load_dataset("tfds:oxford_iiit_pet", "train", data_dir=pets_dir, rare_classes=1, **options)
    assert all((labels == 0).any(axis=(1, 2)).all() for _, labels in rare.as_numpy_iterator())  # 0 has fewest pixels


def test_the_share_is_the_same_every_time(pets_dir):
    names = [[str(image) for image, _ in dataset("tfds:oxford_iiit_pet", pets_dir).pairs("val")] for _ in range(2)]
    assert names[0] == names[1]


def test_settings_hold_the_name():
    assert config.settings({"data": {"name": "tfds:oxford_iiit_pet"}}).data.name == "tfds:oxford_iiit_pet"


def streets(split, number):
    return {"image": picture(split, number), "segmentation_label": (trimap(split, number) - 1)[..., None]}


def test_names_come_from_the_features(tmp_path):
    names = ["car", "road", "sign"]
    features = {
        "image": tfds.features.Image(encoding_format="png"),
        "segmentation_label": tfds.features.LabeledImage(labels=names, shape=(None, None, 1)),
    }
    write(tmp_path, "my_streets", features, streets, counts={"train": 4, "validation": 2})
    data = dataset("tfds:my_streets", tmp_path)
    assert data.classes == tuple(names)
    assert data.splits == ("train", "val")
    assert [len(data.pairs(split)) for split in data.splits] == [4, 2]
    _, label = data.read(*data.pairs("val")[0])
    assert set(np.unique(label)) == {0, 1, 2}


def tensors(split, number):
    return {"image": picture(split, number), "mask": trimap(split, number)}


def test_masks_may_be_tensors_and_a_description_names_their_values(tmp_path):
    features = {
        "image": tfds.features.Image(encoding_format="png"),
        "mask": tfds.features.Tensor(shape=(None, None), dtype=np.uint8, encoding="zlib"),
    }
    write(tmp_path, "my_tensors", features, tensors, counts={"train": 4, "validation": 2})
    (tmp_path / "my_tensors/dataset.yaml").write_text("names: [pet, rest]\nvalues: {1: pet, 2: rest}\nignore: [3]\n")
    data = dataset("tfds:my_tensors", tmp_path)
    assert data.classes == ("pet", "rest")
    (number,) = {len(data.read(*data.pairs("val")[0])[0]) - 20}
    _, label = data.read(*data.pairs("val")[0])
    np.testing.assert_array_equal(label, np.array([9, 0, 1, 255], np.uint8)[trimap("validation", number)])


def test_a_run_reads_labels_as_it_was_trained(tmp_path):
    """Whatever is written into the data set's dataset.yaml since."""
    features = {
        "image": tfds.features.Image(encoding_format="png"),
        "mask": tfds.features.Tensor(shape=(None, None), dtype=np.uint8, encoding="zlib"),
    }
    write(tmp_path, "my_tensors", features, tensors, counts={"train": 4, "validation": 2})
    described = tmp_path / "my_tensors/dataset.yaml"
    described.write_text("names: [pet, rest]\nvalues: {1: pet, 2: rest}\nignore: [3]\n")
    settings = config.settings({"data": {"name": "tfds:my_tensors", "dir": tmp_path}})
    data = dataset("tfds:my_tensors", tmp_path)
    run = Run.open(Run.create(tmp_path / "run", settings, data).folder)
    before = [data.read(*pair)[1] for pair in data.pairs("val")]
    described.write_text("names: [pet, rest]\nvalues: {1: rest, 2: pet}\nignore: [3]\n")
    for folder in (None, tmp_path):
        opened = run.open_dataset(data_dir=folder)
        assert (opened.classes, opened.splits) == (("pet", "rest"), ("train", "val"))
        for label, pair in zip(before, opened.pairs("val"), strict=True):
            np.testing.assert_array_equal(opened.read(*pair)[1], label)
    assert dataset("tfds:my_tensors", tmp_path).coding.ids[1] == 1  # the edited file holds elsewhere


def test_several_masks_are_a_question(tmp_path):
    def example(split, number):
        return {**pets(split, number), "mask": trimap(split, number)[..., None]}

    write(tmp_path, "two_masks", pet_features(mask=tfds.features.Image(shape=(None, None, 1))), example)
    with pytest.raises(
        InputError, match=r"several masks. Name one: tfds:two_masks#segmentation_mask or tfds:two_masks#mask"
    ):
        dataset("tfds:two_masks", tmp_path)
    assert dataset("tfds:two_masks#mask", tmp_path).splits == ("train", "val", "test")
    with pytest.raises(InputError, match=r"no picture of that name. Its features are file_name"):
        dataset("tfds:two_masks#masks", tmp_path)


def test_no_mask_lists_the_features(tmp_path):
    features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=2)}
    write(tmp_path, "no_mask", features, lambda split, number: {"image": picture(split, number), "label": 0})
    with pytest.raises(InputError, match=r"no mask among its features. .*image \(None, None, 3\), label \(\)"):
        dataset("tfds:no_mask", tmp_path)


def test_no_training_split(tmp_path):
    write(tmp_path, "tests_only", pet_features(), pets, counts={"test": 2})
    with pytest.raises(InputError, match=r'no split "train". Its splits are: test'):
        dataset("tfds:tests_only", tmp_path)


def test_nothing_is_downloaded_unasked(tmp_path):
    with pytest.raises(
        InputError, match=r"data prepare tfds:oxford_iiit_pet --download --data-dir .*, expected in .*4.0.0"
    ):
        dataset("tfds:oxford_iiit_pet", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_download_of_a_data_set_that_is_there(pets_dir):
    assert tfds_source.download("tfds:oxford_iiit_pet", pets_dir) == pets_dir / "oxford_iiit_pet/4.0.0"


def test_download_that_fails(tmp_path, monkeypatch):
    def fail(builder, **options):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(InputError, match=r"cannot be downloaded or prepared \(Network is unreachable\)"):
        tfds_source.download("tfds:oxford_iiit_pet", tmp_path)


def test_records_of_records_are_refused(pets_dir, tmp_path):
    with pytest.raises(InputError, match=r"Data sets of TFDS are records already"):
        prepare.plan("tfds:oxford_iiit_pet", pets_dir, tmp_path)


def test_unknown_name(tmp_path):
    with pytest.raises(InputError, match='Did you mean "tfds:oxford_iiit_pet"'):
        dataset("tfds:oxford_iit_pet", tmp_path)


def test_damaged_records(tmp_path):
    write(tmp_path, "my_pets", pet_features(), pets)
    (path,) = tmp_path.glob("my_pets/*/*train*tfrecord*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    data = dataset("tfds:my_pets", tmp_path)
    errors = []
    for pair in data.pairs("train") + data.pairs("val"):
        try:
            data.read(*pair)
        except InputError as error:
            errors.append(str(error))
    assert len(errors) == 1
    assert re.search(r"its checksum is wrong.* Received: .*train.tfrecord-00000-of-00001, record \d", errors[0])


def test_masks_in_colour_become_classes(tmp_path):
    def example(split, number):
        colours = np.array([(0, 0, 0), (128, 64, 128), (0, 0, 142), (70, 70, 70)], np.uint8)
        return {"image": picture(split, number), "segmentation_mask": colours[trimap(split, number)]}

    features = {key: tfds.features.Image(encoding_format="png") for key in ("image", "segmentation_mask")}
    write(tmp_path, "coloured", features, example)
    data = dataset("tfds:coloured", tmp_path)
    assert len(data.classes) == 3
    assert data.coding.by_colour


def test_names_of_files_default_to_the_record(tmp_path):
    write(
        tmp_path,
        "nameless",
        {key: tfds.features.Image(encoding_format="png") for key in ("image", "mask")},
        lambda split, number: {
            "image": picture(split, number),
            "mask": np.repeat(trimap(split, number)[..., None], 3, 2),
        },
    )
    image, mask = dataset("tfds:nameless", tmp_path).pairs("test")[0]
    assert image.name.startswith("nameless-test.tfrecord-00000-of-00001-")
    assert Image.open(mask.open()).size == Image.open(image.open()).size
