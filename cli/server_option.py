"""`--server` of `crosscoop-tf predict`: who looks at the images, a model here or a server."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from keras_crosscoop.evaluation.predictor import Predictor
    from keras_crosscoop.evaluation.server import ServerPredictor
    from keras_crosscoop.runs import Run

_OF_MODELS_HERE = ("window", "overlap", "scales", "flip", "output_head")

server_option: Callable[..., Any] = click.option(
    "--server",
    metavar="URL",
    help="Run inference on a TensorFlow Serving instance that serves an exported model: http://HOST:8501, "
    "grpc://HOST:8500, or the address of a model or version there, such as http://HOST:8501/v1/models/NAME/versions/1.",
)


def check_server_options(context: click.Context) -> None:
    """Refuses options of models here beside `--server`: how a served one looks was settled when it was exported.

    Raises:
        click.UsageError: one was given.
    """
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name in _OF_MODELS_HERE and context.get_parameter_source(option.name) is not ParameterSource.DEFAULT
    ]
    if context.params["server"] is not None and given:
        raise click.UsageError(
            f"The server looks at whole images, as its model was exported: leave out {', '.join(given)}, or --server.",
            context,
        )


@contextmanager
def opened_predictor(
    run: "Run",
    server: str | None,
    output_head: str | None,
    *,
    probabilities: bool,
    batch_size: int,
    inference: dict[str, Any],
) -> Iterator["Predictor | ServerPredictor"]:
    """Gives what makes the predictions: the run's own model, or the server that has it, for which none is loaded.

    Raises:
        InputError: the model cannot be loaded, or the server cannot be asked.
    """
    from keras_crosscoop.evaluation.predictor import Predictor
    from keras_crosscoop.evaluation.server import connected
    from keras_crosscoop.models.inference import Inference

    if server is None:
        yield Predictor(Inference(run.load(), **inference), output_head, probabilities=probabilities)
        return
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # it writes to stderr whenever ffmpeg is started
    name = run.folder.resolve().name
    together = batch_size > 1
    with connected(server, name, len(run.classes), probabilities=probabilities, together=together) as predictor:
        yield predictor
