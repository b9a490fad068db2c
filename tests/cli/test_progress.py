"""What the terminal is told of a training: where it stands, how fast it is, and what it needs."""

from datetime import datetime, timedelta
from types import SimpleNamespace

import keras
import pytest
from crosscoop_tf import progress
from crosscoop_tf.progress import FitProgress, stage_progress
from rich.console import Console

from keras_crosscoop.training import throughput

STEPS = 4  # of an epoch; each takes 0.5 s, but the first of a process 100 s


class Training:
    """Tells a `FitProgress` of a training, as the loop does."""

    def __init__(self, monkeypatch, *, done=0, epochs=3, steps_per_execution=1):
        self.clock = 0.0
        monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=lambda: self.clock))
        monkeypatch.setattr(progress, "_memory", lambda: lambda: 1.25)
        self.progress = FitProgress()
        self.execution = steps_per_execution
        self.seconds = 100.0
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build([])
        optimizer.iterations.assign(done)
        model = SimpleNamespace(optimizer=optimizer, sides=("top", "bottom"), steps_per_execution=steps_per_execution)
        model.output_choices = ("top", "bottom", "ensemble")
        self.progress.set_model(model)
        self.progress.set_params({"steps": STEPS, "epochs": epochs, "batch_size": 6})
        self.progress.on_train_begin()

    def step(self, batch):
        self.progress.on_train_batch_begin(batch)
        self.clock, self.seconds = self.clock + self.seconds, 0.5
        self.progress.on_train_batch_end(batch + self.execution - 1, {"loss": 1.23456})

    def epoch(self, number, first=0, **logs):
        self.progress.on_epoch_begin(number)
        for batch in range(first, STEPS, self.execution):
            self.step(batch)
        self.clock += 1000  # validation, say
        self.progress.on_epoch_end(number, {"top_loss": 1.5, "bottom_loss": 0.25, **logs})

    @property
    def bars(self):
        return [(task.description, task.completed, task.total) for task in self.progress.bar.tasks]


@pytest.fixture
def train(monkeypatch):
    """Begins a training that a terminal of 80 columns shows."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    trainings = []

    def begin(**options):
        trainings.append(Training(monkeypatch, **options))
        return trainings[-1]

    yield begin
    for training in trainings:
        training.progress.__exit__()


def test_the_bar_shows_loss_rate_and_memory(train):
    training = train()
    assert training.bars == [("Training", 0, 12)]
    training.progress.on_epoch_begin(0)
    training.step(0)
    assert training.bars == [("loss 1.235  1.2 GiB", 1, 12)]  # of the first step, which is traced, no rate
    training.step(1)
    assert training.bars == [("loss 1.235  12.0 images/s  1.2 GiB", 2, 12)]
    training.seconds = 1.5  # after which the step of 0.5 s counts exp(-0.15)
    training.step(2)
    assert training.bars == [("loss 1.235  5.8 images/s  1.2 GiB", 3, 12)]


def test_the_bar_of_a_resumed_run_begins_at_the_step_reached(train):
    training = train(done=6)
    assert training.bars == [("Training", 6, 12)]
    training.epoch(1, first=2)
    assert training.bars == [("loss 1.235  12.0 images/s  1.2 GiB", 8, 12)]
    training.epoch(2)
    assert training.bars == [("loss 1.235  12.0 images/s  1.2 GiB", 12, 12)]


def test_steps_that_run_together_count_together(train):
    """Two steps of six images in half a second, which is one execution."""
    training = train(steps_per_execution=2)
    training.epoch(0)
    assert training.bars == [("loss 1.235  24.0 images/s  1.2 GiB", 4, 12)]


def test_steps_that_float16_skips_are_done_all_the_same(train):
    """The optimizer does not count them, whose gradients overflow."""
    training = train(done=3)
    training.epoch(1)
    assert training.bars[0][1] == 8


def test_validation_has_a_bar_whose_length_is_known_from_the_second_on(train):
    training = train()
    training.epoch(0)
    seen = []
    for _ in range(2):
        training.progress.on_test_begin()
        seen.append(training.bars[1])
        for batch in (0, 2, 4):
            training.progress.on_test_batch_end(batch)
        seen.append(training.bars[1])
        training.progress.on_test_end()
        assert len(training.bars) == 1
    assert seen == [("Validating", done, total) for done, total in [(0, None), (5, None), (0, 5), (5, 5)]]


def test_a_terminal_of_80_columns_shows_all_figures(train):
    training = train(epochs=25_000)
    training.epoch(0)
    console = Console(width=80, no_color=True)
    with console.capture() as capture:
        console.print(training.progress.bar.get_renderable())
    shown = capture.get()
    assert "loss 1.235  12.0 images/s  1.2 GiB" in shown
    assert "4/100000" in shown
    assert "…" not in shown


@pytest.fixture
def to_a_file(monkeypatch):
    """Begins a training that no terminal shows."""
    for variable in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(variable, raising=False)
    return lambda **options: Training(monkeypatch, **options)


def test_a_file_gets_a_line_an_epoch_and_nothing_else(to_a_file, capfd):
    """Each with the rate of its own steps, without the first of all and whatever goes on between epochs."""
    training = to_a_file(epochs=4)
    training.epoch(0)
    training.seconds = 6.5
    scores = {"top": 0.5, "bottom": 0.25, "ensemble": 0.625}
    training.epoch(1, **{f"val_{side}_mean_iou": score for side, score in scores.items()})
    training.epoch(2, skipped_files=3)
    training.progress.__exit__()
    assert capfd.readouterr().err.splitlines() == [
        "epoch 1/4  loss 1.500 + 0.250  12.0 images/s  1.2 GiB",
        "epoch 2/4  loss 1.500 + 0.250  3.0 images/s  1.2 GiB  val mIoU top 50.0, bottom 25.0, ensemble 62.5",
        "epoch 3/4  loss 1.500 + 0.250  12.0 images/s  1.2 GiB  files skipped so far: 3 (see skipped.txt)",
    ]


def test_a_long_training_says_when_it_ends(to_a_file, capfd):
    """A quarter took ten minutes, so half an hour is left; the last epoch leaves nothing to say."""
    training = to_a_file(epochs=4)
    training.progress.begun -= 600
    training.epoch(0)
    training.epoch(3)
    first, last = capfd.readouterr().err.splitlines()
    ends = {f"{datetime.now() + timedelta(seconds=1800 + late):%H:%M}" for late in (0, -60)}
    assert "  ends at " in first
    assert any(first.endswith(end) for end in ends)
    assert "ends" not in last


def test_an_end_on_another_day_has_a_date(to_a_file, capfd):
    training = to_a_file(epochs=4)
    training.progress.begun -= 24 * 3600
    training.epoch(0)
    (line,) = capfd.readouterr().err.splitlines()
    assert f"  ends at {datetime.now() + timedelta(days=3):%Y-%m-%d} " in line


def test_a_run_resumed_at_a_validation_does_not_know_its_end(to_a_file, capfd):
    training = to_a_file(done=STEPS)
    training.epoch(0, first=STEPS)
    (line,) = capfd.readouterr().err.splitlines()
    assert "ends" not in line


def test_an_epoch_of_one_traced_step_has_no_rate(to_a_file, capfd):
    training = to_a_file()
    training.epoch(0, first=3)
    assert capfd.readouterr().err == "epoch 1/3  loss 1.500 + 0.250  1.2 GiB\n"


def test_it_remembers_nothing(train):
    """Neither a bar nor a clock is of use to another process; see `CallbackStates`."""
    training = train()
    training.epoch(0)
    assert training.progress.get_state() == {}


def test_memory_is_that_of_this_process_without_gpu():
    """TensorFlow alone takes a tenth of a GiB, and a test far less than all there is."""
    import psutil

    gibibytes = progress._memory()()
    assert 0.1 < gibibytes < psutil.virtual_memory().total / 2**30
    assert gibibytes == pytest.approx(psutil.Process().memory_info().rss / 2**30, rel=0.1)


def test_memory_is_the_peak_of_the_fullest_gpu(monkeypatch):
    peaks = {"GPU:0": 2 << 30, "GPU:1": 5 << 30}
    config = progress.tf.config
    monkeypatch.setattr(config, "list_logical_devices", lambda kind: [SimpleNamespace(name=name) for name in peaks])
    monkeypatch.setattr(config.experimental, "get_memory_info", lambda name: {"current": 1, "peak": peaks[name]})
    assert progress._memory()() == 5


def test_stages_are_told_from_the_beginning(capsys, monkeypatch):
    """By lines, each once, or by a bar that goes."""
    with stage_progress("Loading") as stages:
        assert capsys.readouterr().err == "Loading\n"
        for done in range(3):
            stages("tflite: converting [1]", done, 3)
        stages("Measuring", 0, 7)
        assert capsys.readouterr().err == "tflite: converting [1]\nMeasuring\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    with stage_progress("Loading") as stages:
        stages("Measuring", 3, 7)
    out, err = capsys.readouterr()
    assert (out, "Measuring" in err, "43%" in err) == ("", True, True)
