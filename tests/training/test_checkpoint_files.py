"""A state comes back to the bit, or an earlier one does: a damaged file is never read as something else."""

import errno
import io
import math
import os
import pickle
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import refused

from keras_crosscoop.training import checkpoint_files as module
from keras_crosscoop.training.checkpoint_files import CheckpointFiles
from keras_crosscoop.training.state import TrainingState

LONG = "00006 " + 62 * "n"  # whose entry in the archive's list of contents has 128 bytes

VARIABLES = {
    "00000 conv/kernel": np.random.default_rng(0).normal(size=(40, 50)).astype("float32"),  # more than one buffer
    "00001 conv/bias": np.array([-0.0, 1e-45, 3.4e38], "float32"),
    "00002 none/kernel": np.zeros((0, 3), "float32"),
    "00003 sgd/iteration": np.array(2**62 + 1),
    "00004 seed_generator/state": np.array([2**32 - 1, 7], "uint32"),
    "00005 flags": np.array([True, False]),
    LONG: np.ones(1, "float32"),
}
CALLBACKS = {
    "0 Best": {"best": math.nan, "lowest": -math.inf, "exact": 0.1 + 0.2, "worse": 2, "stop": False, "last": None},
    "1 Weights": {
        "kept": [np.arange(6, dtype="float16").reshape(2, 3).T, np.array([math.nan])],
        "at": (1, ("a", None)),
    },
    "2 Rows": {"rows": [{"epoch": 1, "loss": 0.5}, {}], "score": np.float32(0.1), "deep": {"er": {"list": [[], ()]}}},
    "3 Nothing": {},
}
SHAPES = {name: (value.shape, value.dtype) for name, value in VARIABLES.items()}


def state(steps, **changed):
    return replace(TrainingState(3, 1, steps, VARIABLES, CALLBACKS), **changed)


def exact(value):
    """Something that is equal only for the same types and bits, with NaN equal to itself."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [exact(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return type(value), value.dtype, value.shape, value.tobytes()
    return type(value), repr(value)


def assert_same(actual, expected):
    assert exact(vars(actual)) == exact(vars(expected))


@pytest.fixture
def saved(tmp_path):
    """Checkpoints of the steps 5 and 8."""
    made = CheckpointFiles(tmp_path / "run" / "checkpoints")
    made.folder.parent.mkdir()
    for step in (5, 8):
        made.save(state(step))
    return made


def steps_of(checkpoints):
    return [int(path.stem) for path in checkpoints.files]


def test_a_state_comes_back_to_the_bit(saved):
    assert_same(saved.load(SHAPES), state(8))


def test_the_last_two_are_kept(tmp_path):
    """By their number, also where that has a digit more, and nothing lies beside them."""
    checkpoints = CheckpointFiles(tmp_path)
    assert checkpoints.load(SHAPES) is None
    for step, kept in [(9, [9]), (10, [10, 9]), (999_999_999, [999_999_999, 10]), (10**9, [10**9, 999_999_999])]:
        path = checkpoints.save(state(step))
        assert path == checkpoints.files[0]
        assert steps_of(checkpoints) == kept
        assert len(list(tmp_path.iterdir())) == len(kept)
    assert_same(checkpoints.load(SHAPES), state(10**9))


def test_a_step_is_saved_again_in_place(saved):
    saved.save(state(8, epoch=4, step=0))
    assert steps_of(saved) == [8, 5]
    assert_same(saved.load(SHAPES), state(8, epoch=4, step=0))


def assert_earlier(checkpoints, caplog):
    """The one before the damaged one is used, and the damaged one reported, once."""
    caplog.clear()
    assert_same(checkpoints.load(SHAPES), state(5))
    assert [(record.levelname, str(checkpoints.files[0]) in record.getMessage()) for record in caplog.records] == [
        ("WARNING", True)
    ]


def test_a_cut_one_is_passed_over(saved, caplog):
    newest = saved.files[0]
    whole = newest.read_bytes()
    for length in [*range(0, len(whole), 499), len(whole) - 1]:
        newest.write_bytes(whole[:length])
        assert_earlier(saved, caplog)


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04" + bytes(300), bytes(5000)])
def test_another_file_is_passed_over(saved, caplog, content):
    saved.files[0].write_bytes(content)
    assert_earlier(saved, caplog)


def test_an_archive_of_something_else_is_passed_over(saved, caplog):
    np.savez(saved.files[0], weights=np.zeros(3))
    assert_earlier(saved, caplog)


def flip(path, at, bit=0):
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def in_directory(content, member, offset):
    """Where the archive's own list of contents has a field of a member."""
    return content.rindex(member + b".npy") - 46 + offset


KERNEL, FLAGS = b"variables/00000 conv/kernel", b"variables/00005 flags"
PLACES = {  # where a flip does not merely make a check sum wrong: a byte and its bit
    "the data": lambda content: (content.index(VARIABLES["00000 conv/kernel"].tobytes()) + 17, 3),
    "the shape": lambda content: (content.index(b"(40, 50)") + 2, 0),
    "the type": lambda content: (content.index(b"<f4") + 1, 3),
    "the syntax of the header": lambda content: (content.index(b"(40, 50)"), 0),
    "a name": lambda content: (content.index(KERNEL) + len("variables/0"), 0),
    "a name in the list": lambda content: (in_directory(content, KERNEL, 46) + len("variables/0"), 0),
    "encryption": lambda content: (in_directory(content, KERNEL, 8), 0),
    "compression": lambda content: (in_directory(content, KERNEL, 10), 3),
    "a check sum": lambda content: (in_directory(content, KERNEL, 16), 0),
    "a size": lambda content: (in_directory(content, KERNEL, 24 + 3), 6),
    "where a part lies": lambda content: (in_directory(content, FLAGS, 42), 1),
    "a comment that swallows the next one": lambda content: (in_directory(content, FLAGS, 32), 7),
    "a comment that swallows all others": lambda content: (in_directory(content, FLAGS, 32 + 1), 7),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_flipped_bit_is_damage_and_not_another_network(saved, caplog, place):
    newest = saved.files[0]
    flip(newest, *PLACES[place](newest.read_bytes()))
    assert_earlier(saved, caplog)


def test_no_flipped_bit_changes_what_is_read(saved, caplog):
    """Some do not matter, such as those of a date."""
    newest = saved.files[0]
    whole = newest.read_bytes()
    earlier = 0
    for number, at in enumerate(range(0, len(whole), 97)):
        newest.write_bytes(whole)
        flip(newest, at, number % 8)
        caplog.clear()
        loaded = saved.load(SHAPES)
        earlier += loaded.steps == 5
        assert_same(loaded, state(loaded.steps))
        assert len(caplog.records) == (loaded.steps == 5)
    assert earlier > 0.5 * number


def test_none_is_whole(saved):
    for path in saved.files:
        path.write_bytes(path.read_bytes()[:-30])
    message = refused(saved.load, SHAPES)
    assert message.startswith("All checkpoints of the run are damaged.")
    assert message.endswith(str(saved.folder))


OTHERS = {
    "00000 conv/kernel": ((3, 5), np.dtype("float32")),
    "00001 conv/bias": ((3,), np.dtype("float64")),
    "00003 sgd/iteration": ((1,), np.dtype("int64")),
    "00004 seed_generator/state": ((2,), np.dtype("int32")),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_variable_of_another_network(saved, name):
    message = refused(saved.load, {**SHAPES, name: OTHERS[name]})
    assert message.startswith(
        f"The checkpoint belongs to another network ({name} is {SHAPES[name][1]} {SHAPES[name][0]}"
    )
    assert f"{OTHERS[name][1]} {OTHERS[name][0]} here" in message
    assert message.endswith(str(saved.files[0]))


def test_a_network_of_more_or_fewer_variables(saved):
    more = {**SHAPES, "00007 new/kernel": ((2,), np.dtype("float32"))}
    fewer = {name: shape for name, shape in SHAPES.items() if name != "00005 flags"}
    assert "(only one has 00007 new/kernel)" in refused(saved.load, more)
    assert "(only one has 00005 flags)" in refused(saved.load, fewer)


def rewrite(path, changed):
    """Writes an archive again, whole, with other bytes for some members."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (parts | changed).items():
            archive.writestr(name, content)


def npy(array, **header):
    """An array's file, with a header that may lie."""
    file = io.BytesIO()
    described = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, described | header)
    return file.getvalue() + array.tobytes()


@pytest.mark.parametrize("member", ["callbacks/6.npy", "progress.json.npy"])
def test_a_header_that_promises_more_is_damage(saved, caplog, member):
    rewrite(saved.files[0], {member: npy(np.zeros(3, "uint8"), shape=(1 << 50,))})
    assert_earlier(saved, caplog)


class Mine:
    """Writes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("member", ["callbacks/6.npy", "variables/00000 conv/kernel.npy"])
def test_no_pickle_is_opened(saved, caplog, tmp_path, member):
    trap = tmp_path / "opened"
    pickled = np.empty(1, object)
    header = npy(np.zeros(0), descr="|O", shape=(1,))
    pickled[0] = Mine(trap)
    rewrite(saved.files[0], {member: header + pickle.dumps(pickled)})
    assert_earlier(saved, caplog)
    assert not trap.exists()


@contextmanager
def half_written(monkeypatch):
    def savez(file, **arrays):
        file.write(bytes(1000))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(module.np, "savez", savez)
        yield


@contextmanager
def not_on_disk(monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        yield


@contextmanager
def no_larger_file(monkeypatch):
    """The system's own error, amid the arrays."""
    resource = pytest.importorskip("resource", reason="not on this system")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("full", "reason"),
    [
        (half_written, "No space left on device"),
        (not_on_disk, "No space left on device"),
        (no_larger_file, "File too large"),
    ],
)
def test_a_full_disk_leaves_the_earlier_ones(saved, monkeypatch, full, reason):
    before = {path: path.read_bytes() for path in saved.files}
    with full(monkeypatch):
        message = refused(saved.save, state(11))
    assert message.startswith(f"The checkpoint of step 11 cannot be written ({reason}).")
    assert f"from step 8 with `crosscoop-tf fit --resume {saved.folder.parent}`." in message
    assert {path: path.read_bytes() for path in saved.folder.iterdir()} == before
    assert_same(saved.load(SHAPES), state(8))
    saved.save(state(11))
    assert steps_of(saved) == [11, 8]


def test_a_full_disk_before_the_first(tmp_path, monkeypatch):
    checkpoints = CheckpointFiles(tmp_path)
    with half_written(monkeypatch):
        assert "continue from the start with " in refused(checkpoints.save, state(2))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    assert "step 2 cannot be written (File exists)" in refused(CheckpointFiles(tmp_path / "checkpoints").save, state(2))


def test_what_a_killed_process_left_is_no_checkpoint(saved):
    """Neither does it count as one of two, and the next one that is saved needs its room."""
    left = saved.folder / ".123-000000009.npz"
    left.write_bytes(saved.files[0].read_bytes())
    own = saved.folder / "mine.npz"
    own.write_bytes(b"of the user")
    assert steps_of(saved) == [8, 5]
    assert_same(saved.load(SHAPES), state(8))
    saved.save(state(9))
    assert {path.name for path in saved.folder.iterdir()} == {"000000009.npz", "000000008.npz", own.name}


def test_only_what_a_killed_process_left(tmp_path, monkeypatch):
    (tmp_path / ".123-000000009.npz").write_bytes(b"half")
    assert CheckpointFiles(tmp_path).load(SHAPES) is None
    with half_written(monkeypatch):
        assert "from the start with " in refused(CheckpointFiles(tmp_path).save, state(2))


def test_damaged_ones_go_when_training_went_on_from_before_them(saved):
    """Else they would stay the newest, and good ones make room for them."""
    saved.files[0].write_bytes(b"damaged")
    assert saved.load(SHAPES).steps == 5
    saved.save(state(6))
    assert steps_of(saved) == [6, 5]
