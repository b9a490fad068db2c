"""One training of an ablation, in this process."""

from keras_crosscoop import config
from keras_crosscoop.ablation import worker


def test_a_run_that_was_interrupted_when_it_began_is_begun_again(tmp_path, monkeypatch):
    folder = tmp_path / "cross" / "seed-0"
    folder.mkdir(parents=True)
    for name in ("config.yaml", "dataset.yaml", "train.csv"):
        (folder / name).touch()
    monkeypatch.setattr(worker, "fit", lambda settings, folder, callbacks: folder.exists())
    assert worker._train(config.settings({}), folder, None) is False
