"""The folder of an ablation study."""

from helpers import refused, write_folder

from keras_crosscoop import config, dataset
from keras_crosscoop.ablation import study


def test_a_moved_study_reads_the_same_images(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "data", {"train": 3, "val": 2})
    monkeypatch.setattr(study, "build", lambda model, num_classes: None)
    monkeypatch.setattr(study, "run_jobs", lambda jobs, at_once, progress: {})
    settings = config.settings({"data": {"name": "folder", "dir": root}, "ablation": {"rows": ["cross"], "seeds": 1}})
    study.ablate(settings, tmp_path / "study", progress=print)
    moved = (tmp_path / "study").rename(tmp_path / "moved")
    expected = [dataset("folder", root).pairs(split) for split in ("train", "val")]
    ablation, _ = study.ablate(settings, moved, progress=print)
    (job,) = ablation.jobs()
    in_process = dataset("folder", job.task["settings"]["data"]["dir"])
    for data in (ablation.open_dataset(), in_process):
        assert [data.pairs(split) for split in ("train", "val")] == expected


def test_rows_are_not_trained_for_a_time(tmp_path):
    settings = config.settings({"train": {"time": "1h"}})
    assert "Leave out train.time" in refused(study.ablate, settings, tmp_path / "study", progress=print)
