"""The results in an ablation's folder: scores by hand, two seeds, rows of other calls."""

import numpy as np
import pytest
from helpers import refused

from keras_crosscoop import config
from keras_crosscoop.ablation.costs import RowCost
from keras_crosscoop.ablation.results import read_results
from keras_crosscoop.ablation.rows import ROWS
from keras_crosscoop.ablation.study import Ablation
from keras_crosscoop.errors import InputError
from keras_crosscoop.metrics import iou_per_class

OUTPUTS = {
    "single_top": ["single"],
    "cross": ["top", "bottom", "ensemble"],
    "ensemble_singles": ["top", "bottom", "ensemble"],
}
COST = RowCost(1, 2, 0.5)


@pytest.fixture
def write(tmp_path):
    """Writes what a row's process would have measured, and gives its confusion matrices `(N, O, 2, 2)`."""

    def measured(row, seed, images=range(5)):
        rng = np.random.default_rng([len(row), seed])
        outputs = OUTPUTS.get(row, ["top", "bottom", "ensemble"])
        confusions = rng.integers(1, 100, (5, len(outputs), 2, 2)) + 300 * np.eye(2, dtype=int)
        folder = tmp_path / row / f"seed-{seed}"
        folder.mkdir(parents=True)
        names = {"images": [f"{number}.png" for number in images], "outputs": outputs, "classes": ["road", "sky"]}
        (folder / "metrics.json").write_text("{}")
        np.savez(folder / "confusions.npz", confusions=confusions, **names)
        return confusions

    return measured


def ablation(folder, rows, seeds, **model):
    settings = config.settings({"data": {"name": "voc2012"}, "model": model})
    return Ablation(folder, settings, [ROWS[row] for row in rows], seeds)


def mean_iou(confusions, index):
    return iou_per_class(confusions[:, index].sum(0)).mean()


def test_each_seed_is_compared_with_the_same_of_the_full_method(write, tmp_path):
    single, cross = ([write(row, seed) for seed in (0, 1)] for row in ("single_top", "cross"))
    results = read_results(ablation(tmp_path, ["single_top", "cross"], (0, 1)), {"cross": COST})
    assert [(result.row.name, result.output, result.compared_with) for result in results] == [
        ("single_top", "single", "top"),
        *(("cross", output, output) for output in ("top", "bottom", "ensemble")),
    ]
    assert results[0].mean_iou == pytest.approx([mean_iou(counts, 0) for counts in single])
    assert results[2].mean_iou == pytest.approx([mean_iou(counts, 1) for counts in cross])
    road = [iou_per_class(counts[:, 0].sum(0))[0] for counts in single]
    assert results[0].per_class["road"] == pytest.approx(road)
    gains = [mean_iou(a, 0) - mean_iou(b, 0) for a, b in zip(cross, single, strict=True)]
    assert results[0].gain.of_seeds == pytest.approx(gains)
    assert (results[0].cost, results[1].cost) == (None, COST)
    assert all(result.gain is None for result in results[1:])


def test_seeds_that_only_one_has_are_not_compared(write, tmp_path):
    for row, seeds in {"single_top": (0, 1, 2), "cross": (1,), "none": ()}.items():
        for seed in seeds:
            write(row, seed)
    results = read_results(ablation(tmp_path, ["single_top", "none", "cross"], (0, 1, 2)), {})
    assert [(result.row.name, result.seeds) for result in results[:2]] == [("single_top", (0, 1, 2)), ("cross", (1,))]
    assert len(results[0].gain.of_seeds) == 1


def test_half_of_what_a_row_leaves_is_nothing(write, tmp_path):
    """Of a run that was stopped, `report` writes figures, too."""
    for name in ("metrics.json", "confusions.npz"):
        write("cross", 0)
        done = ablation(tmp_path, ["cross"], (0,))
        assert done.jobs() == []
        (tmp_path / "cross/seed-0" / name).unlink()
        assert [job.name for job in done.jobs()] == ["cross, seed 0"]
        assert read_results(done, {}) == []
        for path in (tmp_path / "cross/seed-0").iterdir():
            path.unlink()
        (tmp_path / "cross/seed-0").rmdir()


def test_all_that_was_ever_measured_is_told(write, tmp_path):
    write("none", 4)
    write("cross", 0)
    whole = ablation(tmp_path, ["cross"], (0,)).whole()
    assert whole.seeds == [0, 4]
    assert [result.row.name for result in read_results(whole, {})] == ["none"] * 3 + ["cross"] * 3


@pytest.mark.parametrize(
    ("model", "expected"),
    [({}, 81.5), ({"top": "resnet101", "bottom": "xception65"}, None), ({"top": "resnet50"}, None)],
)
def test_published_figures_stand_beside_the_papers_networks_alone(write, tmp_path, model, expected):
    write("cross", 0)
    assert read_results(ablation(tmp_path, ["cross"], (0,), **model), {})[0].published == expected


def test_jobs_name_their_networks(tmp_path):
    jobs = {
        job.name: job for job in ablation(tmp_path, ["single_top", "single_bottom", "ensemble_singles"], (0, 1)).jobs()
    }
    assert len(jobs) == 6
    joined = jobs["ensemble_singles, seed 1"]
    assert joined.after == ("single_top, seed 1", "single_bottom, seed 1")
    assert joined.task["ensemble"] == [str(tmp_path / row / "seed-1") for row in ("single_top", "single_bottom")]
    assert jobs["single_top, seed 1"].task["settings"]["train"]["seed"] == 1


def test_other_images_are_no_comparison(write, tmp_path):
    write("cross", 0)
    write("none", 0, images=[0, 1, 2, 3, 7])
    with pytest.raises(InputError, match=r"the same images.*Received: .*none/seed-0, .*cross/seed-0"):
        read_results(ablation(tmp_path, ["none", "cross"], (0,)), {})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "No data left in file"),
        (b"PK\x03\x04", "zip"),
        (b"\x93NUMPY", "cannot be read"),
        ({}, "images is not a file in the archive"),
        ({"images": ["0.png"], "classes": ["road"], "outputs": ["top"], "confusions": np.ones((1, 2, 1, 1))}, "longer"),
    ],
)
def test_damaged_results_are_told(write, tmp_path, content, why):
    write("single_top", 0)
    path = tmp_path / "single_top/seed-0/confusions.npz"
    path.write_bytes(content) if isinstance(content, bytes) else np.savez(path, **content)
    message = refused(read_results, ablation(tmp_path, ["single_top"], [0]), {})
    assert why in message
    assert message.endswith(f"run the same command again to measure the row. Received: {path}")
