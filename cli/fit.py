"""`crosscoop-tf fit`: trains, evaluates and shows."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from crosscoop_tf import recipes
from crosscoop_tf.quiet import TensorFlowCommand
from crosscoop_tf.settings import data_options, model_options, resolve, training_options


@click.command(cls=TensorFlowCommand)
@data_options
@model_options
@training_options
@click.option("--init-from", type=click.Path(), help="A run to start from, with its network; or a file of weights.")
@click.option("--seed", type=int, help="Random seed.")
@click.option("--strategy", help="none, mirrored (all GPUs), multiworker (several machines), or auto.")
@click.option("--deterministic/--no-deterministic", default=None, help="The same bits each time; the default on CPUs.")
@click.option("--save-every", help='Steps (500) or minutes ("10min") between checkpoints.')
@click.option("--profile/--no-profile", default=None, help="Profile a few steps for TensorBoard.")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with a run that was stopped.")
@click.option("--output", type=click.Path(path_type=Path), help="The run's folder; saved_models/DATASET-N by default.")
def fit(
    recipe: str | None,
    assignments: tuple[str, ...],
    top_weights: str | None,
    bottom_weights: str | None,
    resume: Path | None,
    output: Path | None,
    **options: Any,
) -> None:
    """Train a cross-cooperative network, measure it on the validation split, and draw a few predictions.

    Without options it trains a light pair on the embedded data set, in minutes, with no download. Settings come from
    the recipe, are changed by --set, and those by the other options.

    \b
    crosscoop-tf fit
    crosscoop-tf fit --epochs 3 --output saved_models/quick
    crosscoop-tf fit --dataset cityscapes --data-dir DIR
    crosscoop-tf fit --dataset folder --data-dir MY_DATA --top resnet50 --bottom mobilenet_v2
    crosscoop-tf fit --dataset folder --data-dir MY_DATA --init-from saved_models/cityscapes-1
    crosscoop-tf fit --resume saved_models/cityscapes-1
    crosscoop-tf fit --config my.yaml --set train.learning_rate=0.01 --set model.decoder_channels=128
    """
    from crosscoop_tf.figures import print_evaluation
    from crosscoop_tf.progress import EvaluateProgress, FitProgress

    from keras_crosscoop import evaluation, training
    from keras_crosscoop.data import dataset
    from keras_crosscoop.evaluation.report import measure, write_report
    from keras_crosscoop.runs import Run

    if resume:
        _check_alone(click.get_current_context())
        settings = Run.open(resume).settings
    else:
        settings = resolve(recipe, assignments, **options).with_weights(top=top_weights, bottom=bottom_weights)
        output = output or recipes.new_folder(settings.data.name)
    with FitProgress(settings) as progress:
        run = training.resume(resume, [progress]) if resume else training.fit(settings, output, [progress])
    del progress  # and with it the network that was trained: another is measured
    if not run.writes:  # the first of several machines goes on
        return
    model, data = run.load(), dataset(settings.data.name, settings.data.dir)
    with EvaluateProgress() as progress:
        figures = measure(run.folder, settings, model, data, watch=progress)
    print_evaluation(figures)
    inference = evaluation.Inference(model, window=figures["window"])
    evaluation.draw_examples(inference, data, figures["split"], run.folder / "pictures")
    report = write_report(run, figures, model, data)
    click.echo(f"Run: {run.folder}   Report: {report}")


def _check_alone(context: click.Context) -> None:
    given = [
        option.opts[0]
        for option in context.command.params
        if context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    ]
    if others := [option for option in given if option != "--resume"]:
        raise click.UsageError(
            f"A run goes on with the settings that it began with: no other option goes with --resume. "
            f"Received: {', '.join(others)}.",
            context,
        )
