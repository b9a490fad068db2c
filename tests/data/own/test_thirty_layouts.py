"""Raw folders of many layouts and codings: training sees the truth, pixel for pixel."""

from collections import Counter

import numpy as np
import pytest
from data.own import raw_codings  # noqa: F401 - registers more of them
from data.own.pictures import nearest_picture
from data.own.raw_folders import RAW_FOLDERS

from keras_crosscoop import dataset, load_dataset
from keras_crosscoop.data.checks import survey

MISSING: dict[str, str] = {}  # layouts that do not work yet, and why


def _layouts(names):
    strict = lambda name: pytest.mark.xfail(strict=True, reason=MISSING[name])  # noqa: E731
    return [pytest.param(name, marks=[strict(name)] if name in MISSING else []) for name in names]


@pytest.mark.parametrize("layout", _layouts(RAW_FOLDERS))
def test_ids_names_and_splits_are_the_truth(layout, tmp_path):
    truth = RAW_FOLDERS[layout](tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    data = dataset(tmp_path)

    assert (data.name, data.classes) == ("folder", truth.classes)
    seen = {}
    for split in data.splits:
        seen[split] = []
        for image, mask in data.pairs(split):
            pixels, ids = data.read(image, mask)
            seen[split].append(nearest_picture(pixels))
            if mask is not None:
                np.testing.assert_array_equal(ids, truth.labels[seen[split][-1]], err_msg=str(image))
            assert (mask is None) == (split in data.unlabelled)
    if "" in truth.splits:  # without splits, a share of the images becomes the validation split
        assert len(seen["train"]) > len(seen["val"]) > 0
        assert data.statements
        seen[""] = seen.pop("train") + seen.pop("val")
    assert {split: Counter(pictures) for split, pictures in seen.items()} == {
        split: Counter(pictures) for split, pictures in truth.splits.items()
    }
    assert survey(data, ["train", "val"]).lines("problem") == []
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}  # nothing is written


@pytest.mark.parametrize("layout", _layouts(["side_by_side", "train_and_train_labels", "label_studio"]))
def test_the_stream_of_training_holds_the_same_ids(layout, tmp_path):
    truth = RAW_FOLDERS[layout](tmp_path)
    pictures = []
    for image, ids in load_dataset(tmp_path, "train").as_numpy_iterator():
        pictures.append(nearest_picture(np.squeeze(image)))
        np.testing.assert_array_equal(np.squeeze(ids), truth.labels[pictures[-1]])
    assert len(pictures) == len(set(pictures)) > 6
