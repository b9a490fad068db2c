"""VOC 2012 and SBD as distributed: their samples, and errors about bad files."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from data.layouts import SIZE, colour, save_mat, sbd_ids, voc_ids, voc_name, write_sbd, write_voc
from helpers import refused
from PIL import Image
from scipy.io import loadmat, savemat

from keras_crosscoop.data import CATALOGUE, dataset, voc2012
from keras_crosscoop.data.pairs import UnpairedError
from keras_crosscoop.errors import InputError

EXTRA = [(voc_name("sbd", index), sbd_ids(index)) for index in range(4)]


@pytest.fixture
def voc(tmp_path):
    return write_voc(tmp_path)


def read(data, split):
    """Name -> (colour of the image, label) of each pair, in order."""
    samples = {}
    for pair in data.pairs(split):
        image, label = data.read(*pair)
        assert image.shape == (*SIZE, 3)
        assert np.ptp(image, (0, 1)).max() <= 3
        samples[pair[0].stem] = image[0, 0], label
    return samples


def assert_holds(samples, expected):
    assert list(samples) == list(expected)
    for name, (rgb, ids) in expected.items():
        np.testing.assert_allclose(samples[name][0], rgb, atol=2, err_msg=name)
        np.testing.assert_array_equal(samples[name][1], ids, err_msg=name)


def of_split(split, count, ids):
    return {voc_name(split, index): (colour(split, index), ids(index)) for index in range(count)}


def test_classes_and_colours(voc):
    data = dataset("voc2012", voc)
    assert data.classes[0] == "background"
    assert data.classes == (*data.classes[:1], *sorted(data.classes[1:]))  # as in the development kit
    colours = dict(zip(data.classes, data.palette, strict=True))
    assert colours["background"] == (0, 0, 0)
    assert colours["person"] == (192, 128, 128)
    assert colours["tvmonitor"] == (0, 64, 128)
    assert len(colours) == CATALOGUE["voc2012"].classes == 21


@pytest.mark.parametrize("folder", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_splits_of_voc(tmp_path, voc, folder):
    data = dataset("voc2012", tmp_path / folder)
    train, val = of_split("train", 3, voc_ids), of_split("val", 2, voc_ids)
    assert_holds(read(data, "train"), train)
    assert_holds(read(data, "val"), val)
    assert_holds(read(data, "trainval"), train | val)


def test_order_is_that_of_the_list(voc):
    names = [voc_name("train", index) for index in (2, 0, 1)]
    (voc / "ImageSets/Segmentation/train.txt").write_text("\r\n".join(names) + "\r\n\r\n")
    assert [image.stem for image, _ in dataset("voc2012", voc).pairs("train")] == names


def test_the_test_split_has_no_labels(voc):
    data = dataset("voc2012", voc)
    assert data.unlabelled == ("test",)
    assert [label for _, label in data.pairs("test")] == [None, None]
    assert_holds(read(data, "test"), of_split("test", 2, lambda index: np.full(SIZE, 255)))


@pytest.mark.parametrize("sbd", ["mat", "aug"])
def test_augmented_split(tmp_path, sbd):
    """All of SBD but what is in VOC's val, VOC's own labels where there are any."""
    write_voc(tmp_path, sbd=sbd)
    data = dataset("voc2012", tmp_path)
    assert_holds(read(data, "trainaug"), of_split("train", 3, voc_ids) | of_split("sbd", 4, sbd_ids))
    assert {label.name[-4:] for _, label in data.pairs("trainaug")[3:]} == {".mat" if sbd == "mat" else ".png"}


@pytest.mark.parametrize("opened", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
@pytest.mark.parametrize(
    "place",
    [
        "benchmark_RELEASE",
        "benchmark/benchmark_RELEASE",
        "VOCdevkit/benchmark_RELEASE",
        "VOCdevkit/VOC2012/benchmark_RELEASE",
    ],
)
def test_places_of_sbd(tmp_path, voc, opened, place):
    write_sbd(tmp_path / place, dict(EXTRA))
    samples = read(dataset("voc2012", tmp_path / opened), "trainaug")
    assert_holds(samples, of_split("train", 3, voc_ids) | of_split("sbd", 4, sbd_ids))


def test_sbd_as_palette_pngs_in_the_data_folder(tmp_path, voc):
    (tmp_path / "SegmentationClassAug").mkdir()
    for name, ids in EXTRA:
        label = Image.fromarray(ids)
        label.putpalette(bytes(range(256)) * 3)
        label.save(tmp_path / "SegmentationClassAug" / f"{name}.png")
    samples = read(dataset("voc2012", tmp_path), "trainaug")
    assert_holds(samples, of_split("train", 3, voc_ids) | of_split("sbd", 4, sbd_ids))


def test_sbd_lends_the_images_that_voc_lacks(tmp_path):
    """Its copies are grey here. VOC's are taken where both are there."""
    voc = write_voc(tmp_path, sbd="mat")
    lent = [voc_name("train", 1), voc_name("sbd", 2)]
    for name in lent:
        (voc / f"JPEGImages/{name}.jpg").unlink()
    expected = of_split("train", 3, voc_ids) | of_split("sbd", 4, sbd_ids)
    expected |= {name: ((128, 128, 128), expected[name][1]) for name in lent}
    assert_holds(read(dataset("voc2012", tmp_path), "trainaug"), expected)


def test_the_small_tree_has_the_official_structure(tmp_path):
    """As `loadmat` and Pillow give the official files, so that the tests above say something about those."""
    voc = write_voc(tmp_path, sbd="mat")
    label = loadmat(tmp_path / f"benchmark_RELEASE/dataset/cls/{voc_name('sbd', 2)}.mat")["GTcls"]
    assert label.shape == (1, 1)
    assert label.dtype.names == ("Boundaries", "Segmentation", "CategoriesPresent")
    assert label["Boundaries"][0, 0].shape == (20, 1)
    assert label["Boundaries"][0, 0][2, 0].shape == SIZE
    assert label["Segmentation"][0, 0].dtype == np.uint8
    assert label["CategoriesPresent"][0, 0].tolist() == [[3]]
    with Image.open(voc / f"SegmentationClass/{voc_name('train', 0)}.png") as png:
        assert png.mode == "P"
        assert png.getpalette()[:6] + png.getpalette()[-3:] == [0, 0, 0, 128, 0, 0, 224, 224, 192]


@pytest.mark.slow
def test_true_size(tmp_path):
    """1,464 + 11,355 - 1,134 in both - 1,103 in val = 10,582: computed from lists of the true size, of empty files."""
    names = [f"{2007 + index % 5}_{index:06}" for index in range(2913 + 9118 + 1456)]
    splits = {"train": names[:1464], "val": names[1464:2913], "trainval": names[:2913], "test": names[-1456:]}
    sbd_names = names[2913:-1456] + names[1464 - 1134 : 1464 + 1103]
    assert len(sbd_names) == 11_355
    voc = tmp_path / "VOC2012"
    for folder in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass", "../benchmark_RELEASE/dataset/cls"):
        (voc / folder).mkdir(parents=True)
    for split, names_of_split in splits.items():
        (voc / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join(names_of_split))
    files = [f"VOC2012/JPEGImages/{name}.jpg" for name in names]
    files += [f"VOC2012/SegmentationClass/{name}.png" for name in splits["trainval"]]
    files += [f"benchmark_RELEASE/dataset/cls/{name}.mat" for name in sbd_names]
    for file in files:
        (tmp_path / file).touch()

    data = dataset("voc2012", tmp_path)

    pairs = {split: data.find(split) for split in data.splits}
    assert {split: len(of_split) for split, of_split in pairs.items()} == CATALOGUE["voc2012"].splits
    assert len(pairs["trainaug"]) == 10_582
    samples = {image.stem: label for image, label in pairs["trainaug"]}
    assert samples.keys() == {*names[:-1456]} - {*splits["val"]}
    own = {str(voc / "SegmentationClass" / f"{name}.png") for name in splits["train"]}
    assert {str(label) for label in samples.values()} & {str(label) for _, label in pairs["trainval"]} == own


def test_opening_does_not_unpack_sbd(tmp_path, monkeypatch):
    """Its labels have no header, and 9,118 of them would take 10 s; their sizes are compared when they are read."""
    write_voc(tmp_path, sbd="mat")
    name, ids = EXTRA[1]
    save_mat(tmp_path / f"benchmark_RELEASE/dataset/cls/{name}.mat", ids[:-1])
    data = dataset("voc2012", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(voc2012.MatLabel, "pixels", lambda label: pytest.fail("unpacked"))
        pairs = {image.stem: (image, label) for image, label in data.pairs("trainaug")}
    message = refused(data.read, *pairs[name])
    assert f"JPEGImages/{name}.jpg is 40x30 and its label 40x29" in message
    assert message.endswith(f"Received: {tmp_path}/benchmark_RELEASE/dataset/cls/{name}.mat")


def test_labels_of_sbd_that_are_not_compressed(tmp_path):
    """As MATLAB's `save -v6` writes them."""
    write_voc(tmp_path, sbd="mat")
    name, ids = EXTRA[0]
    savemat(tmp_path / f"benchmark_RELEASE/dataset/cls/{name}.mat", {"GTcls": {"Segmentation": ids}})
    np.testing.assert_array_equal(read(dataset("voc2012", tmp_path), "trainaug")[name][1], ids)


def test_damaged_labels_of_sbd_never_hold_other_ids(tmp_path):
    """Whichever bit is flipped. SciPy alone reads other ids for some, and crashes on others."""
    path = tmp_path / "a.mat"
    save_mat(path, sbd_ids(3))
    good, expected = path.read_bytes(), voc2012.MatLabel(path).pixels()
    refusals = 0
    rng = np.random.default_rng(0)
    for place in range(124, len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1 << rng.integers(8)]) + good[place + 1 :])
        try:
            assert (voc2012.MatLabel(path).pixels() == expected).all()
        except InputError:
            refusals += 1
    assert refusals > 250


def test_images_of_sbd_are_checked_when_it_is_opened(tmp_path):
    voc = write_voc(tmp_path, sbd="mat")
    path = voc / f"JPEGImages/{voc_name('sbd', 3)}.jpg"
    path.write_bytes(b"")
    assert refused(dataset("voc2012", tmp_path).pairs, "trainaug").endswith(f"Received: {path}")


# Errors


def test_no_voc_in_the_folder(tmp_path):
    message = refused(dataset, "voc2012", tmp_path)
    assert f"expected {tmp_path}/VOCdevkit/VOC2012/ImageSets/Segmentation. Extract VOCtrainval_11-May" in message
    assert message.endswith(f"Received: {tmp_path}")


def test_no_sbd(tmp_path, voc):
    data = dataset("voc2012", tmp_path)
    assert len(data.pairs("train")) == 3
    message = refused(data.pairs, "trainaug")
    assert message.startswith(f"Split trainaug needs SBD: expected {tmp_path}/benchmark_RELEASE/dataset/cls, or ")
    assert f"PNGs in {voc}/SegmentationClassAug. Extract benchmark.tgz from https://www2.eecs.berkeley.edu/" in message
    assert "train without it: `--set data.train_split=train`. Received: 'trainaug'" in message


@pytest.mark.parametrize(
    ("folder", "kind", "suffix"), [("JPEGImages", "image", "jpg"), ("SegmentationClass", "label", "png")]
)
def test_listed_name_without_its_file(voc, folder, kind, suffix):
    name = voc_name("train", 1)
    path = voc / folder / f"{name}.{suffix}"
    path.unlink()
    message = refused(dataset("voc2012", voc).pairs, "train")
    assert message.startswith(
        f"A sample has no {kind}: expected {path}, which VOCtrainval_11-May-2012.tar holds. Extract the whole"
    )
    assert message.endswith(f"Received: {name} in {voc}/ImageSets/Segmentation/train.txt")
    shutil.rmtree(voc / folder)
    message = refused(dataset("voc2012", voc).pairs, "trainval")
    assert message.startswith(f"5 times: A sample has no {kind}: expected {voc}/{folder}/")


def test_every_missing_file_is_reported(voc):
    """To those who want them all, with the pairs that are whole."""
    for path in (f"JPEGImages/{voc_name('train', 0)}.jpg", f"SegmentationClass/{voc_name('train', 2)}.png"):
        (voc / path).unlink()
    with pytest.raises(UnpairedError, match=r"has no image: expected .* has no label: expected ") as error:
        dataset("voc2012", voc).pairs("train")
    assert [Path(file).stem for file in error.value.unpaired] == [voc_name("train", 0), voc_name("train", 2)]
    assert all(f"expected {file}, which" in line for file, line in error.value.unpaired.items())
    assert [image.stem for image, _ in error.value.pairs] == [voc_name("train", 1)]


def test_listed_test_image_is_missing(voc):
    path = voc / f"JPEGImages/{voc_name('test', 0)}.jpg"
    path.unlink()
    assert f"expected {path}, which VOC2012test.tar holds." in refused(dataset("voc2012", voc).pairs, "test")


def test_voc_label_is_not_replaced_by_that_of_sbd(tmp_path):
    voc = write_voc(tmp_path, sbd="mat")
    (voc / f"SegmentationClass/{voc_name('train', 1)}.png").unlink()
    assert "A sample has no label: expected" in refused(dataset("voc2012", voc).pairs, "trainaug")


def test_sbd_label_without_an_image(tmp_path):
    voc = write_voc(tmp_path, sbd="aug")
    name = voc_name("sbd", 2)
    (voc / f"JPEGImages/{name}.jpg").unlink()
    message = refused(dataset("voc2012", voc).pairs, "trainaug")
    assert message.startswith(f"A sample has no image: expected {voc}/JPEGImages/{name}.jpg, which VOCtrainval")
    assert message.endswith(f"Received: {voc}/SegmentationClassAug/{name}.png")


def test_missing_list(voc):
    for split, archive in (("test", "VOC2012test.tar"), ("val", "VOCtrainval_11-May-2012.tar")):
        path = voc / f"ImageSets/Segmentation/{split}.txt"
        path.unlink()
        message = refused(dataset("voc2012", voc).pairs, split)
        assert f"list of split {split} cannot be read. Extract the whole archive {archive}. " in message
        assert message.endswith(f"Received: {path}")


def test_palette_label_saved_again_as_rgb(voc):
    path = voc / f"SegmentationClass/{voc_name('train', 2)}.png"
    with Image.open(path) as label:
        label.convert("RGB").save(path)
    message = refused(dataset("voc2012", voc).pairs, "train")
    assert "one class id per pixel, as a grey or palette PNG, not RGB colours. Take the file as it was dist" in message
    assert message.endswith(f"Received: {path}")


def test_label_of_another_size(voc):
    path = voc / f"SegmentationClass/{voc_name('val', 1)}.png"
    with Image.open(path) as label:
        label.resize((20, 15), Image.Resampling.NEAREST).save(path)
    message = refused(dataset("voc2012", voc).pairs, "val")
    assert f"{voc_name('val', 1)}.jpg is 40x30 and its label 20x15." in message
    assert message.endswith(f"Received: {path}")


@pytest.mark.parametrize("sbd", ["mat", "aug"])
def test_id_outside_the_classes(tmp_path, sbd):
    write_voc(tmp_path, sbd=sbd)
    data = dataset("voc2012", tmp_path)
    image, label = data.pairs("trainaug")[4]
    if sbd == "mat":
        save_mat(label.path, np.full(SIZE, 21, np.uint8))
    else:
        Image.new("L", SIZE[::-1], 21).save(label)
    message = refused(data.read, image, label)
    assert message.startswith("A label holds value 21, but its classes are values 0 to 20, and void is 255. ")
    assert message.endswith(f"Received: {label}")


def _truncated(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_truncated, "incomplete or truncated stream"),
        (lambda path: path.write_bytes(b""), "(ValueError: not a MATLAB 5 file)"),
        (lambda path: path.write_bytes(b"no MATLAB file at all" * 30), "(ValueError: not a MATLAB 5 file)"),
        (lambda path: path.unlink(), "No such file or directory"),
        (lambda path: savemat(path, {"GTinst": {"Segmentation": sbd_ids(0)}}), "cannot be read (KeyError: 'GTcls')"),
        (lambda path: savemat(path, {"GTcls": {"Boundaries": 1.0}}), "cannot be read (ValueError: no field of name"),
        (lambda path: save_mat(path, sbd_ids(0).astype(float)), "uint8 (H, W). Extract benchmark.tgz again. Rec"),
        (lambda path: savemat(path, {"GTcls": {"Segmentation": np.zeros((2, 3, 4), np.uint8)}}), "uint8 (2, 3, 4) in"),
    ],
)
def test_bad_label_of_sbd(tmp_path, spoil, reason):
    write_voc(tmp_path, sbd="mat")
    data = dataset("voc2012", tmp_path)
    image, label = data.pairs("trainaug")[4]
    spoil(label.path)
    message = refused(data.read, image, label)
    assert reason in message
    assert "Extract benchmark.tgz again. Received: " in message
    assert message.endswith(f"benchmark_RELEASE/dataset/cls/{voc_name('sbd', 1)}.mat")


def test_unpaired_files_of_voc_and_of_sbd_are_reported_together(tmp_path):
    """And all other pairs of both are kept."""
    voc = write_voc(tmp_path, sbd="aug")
    data = dataset("voc2012", tmp_path)
    assert len(data.find("trainaug")) == 7
    for path in (f"SegmentationClass/{voc_name('train', 0)}.png", f"JPEGImages/{voc_name('sbd', 1)}.jpg"):
        (voc / path).unlink()
    with pytest.raises(UnpairedError) as caught:
        data.find("trainaug")
    assert len(caught.value.unpaired) == 2
    assert len(caught.value.pairs) == 5
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.unpaired) == (str(caught.value), caught.value.unpaired)
