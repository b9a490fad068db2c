"""What TensorBoard shows of a training: its figures, what the network sees of a few images, and a profile.

Keras's own callback counts epochs rather than steps, and begins anew when a run is resumed.
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

PANEL = 512  # pixels, the greatest width of one picture beside others
WARM_UP = 10  # steps before a profile: the first is traced, and in the next ones buffers fill and kernels are chosen
PROFILED = 5  # steps


class _Stopping(Exception):  # noqa: N818 - it is no error
    """A picture is left, as the training is about to end."""


class WriteTensorBoard(keras.callbacks.Callback):
    """Writes `tensorboard/` of a run, over the steps that the optimizer has done, within `with`.

    Figures of training go under `train/`, of validation under `validation/`; a picture for each example that shows the
    image, its truth, and what each of the networks says, under `examples/`. A resumed run goes on in a file of its own.
    That begins with the event by which TensorBoard drops what an earlier one says of the same steps, as they are done
    again.

    Args:
        run: whose folder and colours these are.
        examples: RGB, uint8 `(H, W, 3)`, and class ids with 255 for void, uint8 `(H, W)`: drawn at each validation.
        every: steps between the figures within an epoch; its end is always written.
        profile: whether to profile five steps, after the first ten of this process if it does as many.
        looking: gives how the model looks at the examples.
        is_stopping: whether the training is about to end by a signal: no pictures are drawn then.
    """

    def __init__(
        self,
        run: Run,
        examples: Sequence[tuple[np.ndarray, np.ndarray]],
        every: int = 50,
        profile: bool = False,
        looking: Callable[[Segmenter], Inference] = Inference,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        options = run.settings.train
        self.folder = run.folder / "tensorboard"
        self.examples = examples
        self.every = every
        self.profile = profile
        self.looking = looking
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
        """Closes files and profile however the training ends: Keras tells callbacks nothing of errors."""
        self._step_mark.close()
        self._profiler.close()
        self._writer.close()

    def on_train_begin(self, logs: Any = None) -> None:
        """Counts from here."""
        self._step = int(self.model.optimizer.iterations.numpy())
        steps = self.params["steps"]
        executions = math.ceil(PROFILED / self._executed_steps)
        self._profiled = min(executions * self._executed_steps, steps)
        self._warm_up = min(WARM_UP, self.params["epochs"] * steps - self._step - self._profiled)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Begins the profile, if it is time and the epoch, whose end is no step, is long enough."""
        if self.profile and self._done >= self._warm_up and batch + self._profiled <= self.params["steps"]:
            self.profile = False
            self._profile_end = self._done + self._profiled
            self._profiler.enter_context(tf.profiler.experimental.Profile(str(self.folder)))
        if self._done < self._profile_end:
            self._step_mark.enter_context(tf.profiler.experimental.Trace("train", step_num=self._step, _r=1))
        self._throughput.begin()

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Writes the epoch's losses so far, if it is time."""
        before, self._step = self._step, int(self.model.optimizer.iterations.numpy())  # which waits for the step
        self._throughput.end()
        self._done += self._executed_steps
        self._step_mark.close()
        if self._done >= self._profile_end:
            self._profiler.close()
        if before // self.every < self._step // self.every and batch + 1 < self.params["steps"]:
            self._write(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Writes the epoch's figures, and where it was validated, the pictures: of the weights that were."""
        self._write(logs)
        if any(name.startswith("val_") for name in logs):
            with self._writer.as_default(self._step):
                panels = ", ".join(("image", "truth", *self.model.sides))
                for number, example in enumerate(self.examples):
                    with suppress(_Stopping):
                        tf.summary.image(f"examples/{number}", self._picture(*example)[None], description=panels)

    def _write(self, logs: Mapping[str, float]) -> None:
        figures = {f"train/{name}".replace("train/val_", "validation/"): value for name, value in logs.items()}
        figures["train/learning_rate"] = float(self.model.optimizer.learning_rate)
        if rate := self._throughput.take():
            figures["train/images_per_second"] = rate
        if not self._started:
            self._started = True
            start = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
            write_event(self._writer, tf.compat.v1.Event(wall_time=time.time(), step=self._step, session_log=start))
        with self._writer.as_default(self._step):
            for name, value in figures.items():
                tf.summary.scalar(name, value)

    def _picture(self, image: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Image, truth and each network's classes side by side, uint8 `(h, w, 3)`."""
        # Called like this, outside of `Strategy.run`, the model runs once, on the first replica's weights; `predict`
        # would run on all replicas, and wait for those of other machines, which write nothing.
        height, width, _ = image.shape
        look = self.looking(self.model)
        if look.is_whole(height, width):
            logits = self.model(image[None], training=False)
            seen = [ops.convert_to_numpy(ops.argmax(logits[side][0], axis=-1)) for side in self.model.sides]
        else:
            classes = look.classes(image, self._give_way)
            seen = [classes[side] for side in self.model.sides]
        size = min(width, PANEL), max(1, round(height * min(1, PANEL / width)))
        panels = [np.asarray(Image.fromarray(image).resize(size))]
        for ids in (truth, *seen):
            shrunk = Image.fromarray(ids.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
            panels.append(self._colours[np.asarray(shrunk)])
        return np.concatenate(panels, axis=1)

    def _give_way(self) -> None:
        if self.is_stopping():
            raise _Stopping

    def get_state(self) -> dict[str, Any]:
        """Nothing: steps are the optimizer's, and times this process's."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes what `get_state` gave."""
