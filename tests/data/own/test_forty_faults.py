"""Planted faults of labels: none is trained on in silence."""

import re

import pytest
from data.own import faults_of_files  # noqa: F401 - registers more of them
from data.own.faults import FAULTS
from data.own.pictures import nearest_picture, without_void

from keras_crosscoop import dataset
from keras_crosscoop.data.checks import survey
from keras_crosscoop.errors import InputError

MISSING: dict[str, str] = {}  # faults that are not handled yet, and why


def outcome(folder):
    """What comes of a folder before the first step of a training, see `faults`, and what is told."""
    try:
        data = dataset(folder)
        for split in ("train", "val"):
            data.check_labelled(split)
            data.pairs(split)
        report = survey(data, ["train", "val"])
    except InputError as error:
        return _refusal(str(error))
    if problems := report.lines("problem"):
        return _refusal("\n".join(problems))
    if warnings := report.lines("warning"):
        return "warned", "\n".join(warnings)
    for split in data.splits:
        for pair in data.pairs(split):
            image, ids = data.read(*pair)
            if (ids != without_void(nearest_picture(image))).any():
                return "silent", "\n".join(data.statements)
    return "understood", "\n".join(data.statements)


def _refusal(message):
    return "refused", message


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name, tmp_path):
    if name in MISSING:
        pytest.xfail(MISSING[name])
    fault = FAULTS[name]
    fault.plant(tmp_path)
    result, told = outcome(tmp_path)
    assert result == fault.outcome, told
    assert re.search(fault.message, told, re.DOTALL), told
