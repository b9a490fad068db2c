"""TensorBoard logs of training: metrics, example predictions, and a profile.

Keras's own callback counts epochs instead of steps, and starts again at 0 when a run is resumed.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from PIL import Image

from keras_crosscoop.images.palettes import palette_table
from keras_crosscoop.keras_internals import write_event
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.models import Segmenter
from keras_crosscoop.models.inference import Inference
from keras_crosscoop.runs import Run
from keras_crosscoop.training.throughput import Throughput

PANEL = 512  # pixels, the maximum width of each panel of a picture
WARM_UP = 10  # steps before a profile: the first step is traced, then buffers are filled and kernels chosen
PROFILED = 5  # steps


class _Stopping(Exception):  # noqa: N818 - not an error
    """A picture is abandoned, because training is about to end."""


class WriteTensorBoard(keras.callbacks.Callback):
    """Writes the folder `tensorboard` of a run, by optimizer step; training runs within `with board:`.

    Tags are `train/...` for training, `validation/...` for validation, and `examples/...` for pictures of an image, its
    label and each network's prediction. A resumed run writes another file, which begins with an event that makes
    TensorBoard drop the earlier values of repeated steps.

    Args:
        run: The run.
        examples: Images, RGB uint8 `(H, W, 3)`, and class ids with 255 for void, uint8 `(H, W)`.
        every: Number of steps between values within an epoch; values at its end are always written.
        profile: Whether to profile five steps, after the first ten of this process.
        inference: Returns the inference that segments the examples.
        is_stopping: Returns whether a signal is about to end training; then no pictures are drawn.
    """

    def __init__(
        self,
        run: Run,
        examples: Sequence[tuple[np.ndarray, np.ndarray]],
        every: int = 50,
        profile: bool = False,
        inference: Callable[[Segmenter], Inference] = Inference,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        options = run.settings.train
        self.folder = run.folder / "tensorboard"
        self.examples = examples
        self.every = every
        self.profile = profile
        self.inference = inference
        self.is_stopping = is_stopping
        self._colours = palette_table(run.palette)
        self._colours[IGNORE_LABEL] = 0
        self._throughput = Throughput(options.batch_size * options.steps_per_execution)
        self._executed_steps = options.steps_per_execution
        self._done = self._profile_end = 0  # steps of this process
        self._started = False
        self._profiler, self._step_mark = ExitStack(), ExitStack()

    def __enter__(self) -> "WriteTensorBoard":
        self._writer = tf.summary.create_file_writer(str(self.folder))
        return self

    def __exit__(self, *error: object) -> None:
        """Closes the files and the profile, also after an error, which Keras does not report to callbacks."""
        self._step_mark.close()
        self._profiler.close()
        self._writer.close()

    def on_train_begin(self, logs: Any = None) -> None:
        """Sets the first step."""
        self._step = int(self.model.optimizer.iterations.numpy())
        steps = self.params["steps"]
        executions = math.ceil(PROFILED / self._executed_steps)
        self._profiled = min(executions * self._executed_steps, steps)
        self._warm_up = min(WARM_UP, self.params["epochs"] * steps - self._step - self._profiled)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Begins the profile, if it is due and the rest of the epoch is long enough."""
        if self.profile and self._done >= self._warm_up and batch + self._profiled <= self.params["steps"]:
            self.profile = False
            self._profile_end = self._done + self._profiled
            self._profiler.enter_context(tf.profiler.experimental.Profile(str(self.folder)))
        if self._done < self._profile_end:
            self._step_mark.enter_context(tf.profiler.experimental.Trace("train", step_num=self._step, _r=1))
        self._throughput.begin()

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Writes the losses of the epoch so far, every `every` steps."""
        before, self._step = self._step, int(self.model.optimizer.iterations.numpy())  # this waits for the step
        self._throughput.end()
        self._done += self._executed_steps
        self._step_mark.close()
        if self._done >= self._profile_end:
            self._profiler.close()
        if before // self.every < self._step // self.every and batch + 1 < self.params["steps"]:
            self._write(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Writes the metrics of the epoch, and pictures if it was validated, with the validated weights."""
        self._write(logs)
        if any(name.startswith("val_") for name in logs):
            with self._writer.as_default(self._step):
                panels = ", ".join(("image", "label", *self.model.sides))
                for number, example in enumerate(self.examples):
                    with suppress(_Stopping):
                        tf.summary.image(f"examples/{number}", self._picture(*example)[None], description=panels)

    def _write(self, logs: Mapping[str, float]) -> None:
        values = {f"train/{name}".replace("train/val_", "validation/"): value for name, value in logs.items()}
        values["train/learning_rate"] = float(self.model.optimizer.learning_rate)
        if rate := self._throughput.take():
            values["train/images_per_second"] = rate
        if not self._started:
            self._started = True
            start = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
            write_event(self._writer, tf.compat.v1.Event(wall_time=time.time(), step=self._step, session_log=start))
        with self._writer.as_default(self._step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def _picture(self, image: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Returns image, label and predictions side by side, uint8 `(h, w, 3)`."""
        # Called outside `Strategy.run`, the model runs once, with the first replica's weights; `predict` would wait for
        # the replicas of other machines, which write nothing.
        height, width, _ = image.shape
        inference = self.inference(self.model)
        if inference.is_whole(height, width):
            logits = self.model(image[None], training=False)
            predictions = [ops.convert_to_numpy(ops.argmax(logits[side][0], axis=-1)) for side in self.model.sides]
        else:
            classes = inference.classes(image, self._check_stopping)
            predictions = [classes[side] for side in self.model.sides]
        size = min(width, PANEL), max(1, round(height * min(1, PANEL / width)))
        panels = [np.asarray(Image.fromarray(image).resize(size))]
        for ids in (label, *predictions):
            shrunk = Image.fromarray(ids.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
            panels.append(self._colours[np.asarray(shrunk)])
        return np.concatenate(panels, axis=1)

    def _check_stopping(self) -> None:
        if self.is_stopping():
            raise _Stopping

    def get_state(self) -> dict[str, Any]:
        """Returns an empty state: the optimizer counts steps, and times belong to this process."""
        return {}
