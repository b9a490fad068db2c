"""`crosscoop-tf data import`."""

import json

import pytest
from data.importing import tool_exports

from keras_crosscoop.data import CATALOGUE


@pytest.fixture
def export(tmp_path):
    tool_exports.make_yolo(tmp_path / "export")
    return tmp_path / "export"


def test_import_tells_classes_findings_and_the_next_command(crosscoop, export, tmp_path):
    code, out, err = crosscoop("data", "import", export, "--output", "MY_DATA")
    assert code == 0
    assert "Format: yolo   Images: train 2, val 1" in out
    rows = [line.replace("│", " ").split() for line in out.splitlines()]
    assert ["2", "car", "2.00%"] in rows
    assert "warning: Boxes without a polygon were left out: 3 (one.txt, two.txt, three.txt)" in out
    assert "Train: crosscoop-tf fit --data-dir MY_DATA" in out
    assert "Traceback" not in err
    assert (tmp_path / "MY_DATA/dataset.yaml").is_file()


def test_import_as_json(crosscoop, export):
    report = json.loads(crosscoop("data", "import", export, "--output", "MY_DATA", "--no-background", "--json").out)
    assert report["format"] == "yolo"
    assert list(report["pixels"]) == ["road", "car", "tree", "void"]


def test_import_refuses_to_overwrite(crosscoop, export, tmp_path):
    (tmp_path / "MY_DATA").mkdir()
    code, out, err = crosscoop("data", "import", export, "--output", "MY_DATA")
    assert (code, out) == (2, "")
    assert "The folder already exists" in err
    assert list((tmp_path / "MY_DATA").iterdir()) == []


def test_help_names_the_formats(crosscoop):
    from keras_crosscoop.data.importing import FORMATS

    out = crosscoop("data", "import", "--help").out
    assert all(name in out for name in FORMATS)
    assert CATALOGUE


def test_tfds_by_name_has_no_such_data_set(crosscoop):
    code, _, err = crosscoop("fit", "--dataset", "tfds:oxford_iit_pet", "--data-dir", ".")
    assert code == 2
    assert 'Did you mean "tfds:oxford_iiit_pet"?' in err
