"""`crosscoop-tf report`: a run, or several side by side, as a page to look at."""

from pathlib import Path

import click
from crosscoop_tf.tensorflow_command import TensorFlowCommand


@click.command(cls=TensorFlowCommand)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--compare", is_flag=True, help="Show several runs side by side.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="The folder of the data set; the runs' own by default."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="The page; RUN/report.html by default, and comparison.html of several runs.",
)
@click.option("--force", is_flag=True, help="Write over another file than the run's own report.")
def report(runs: tuple[Path, ...], compare: bool, data_dir: Path | None, output: Path | None, force: bool) -> None:
    """Write what is known of a run as one HTML page: figures, learning curves, examples to look into.

    The page needs no network and no other file. fit has written it already; a run that was stopped is measured first.

    \b
    crosscoop-tf report saved_models/street_scenes-1
    crosscoop-tf report saved_models/camvid-1 --data-dir CamVid --output camvid.html
    crosscoop-tf report --compare saved_models/camvid-1 saved_models/camvid-2
    """
    if compare != (len(runs) > 1):
        raise click.UsageError(
            "A report is of one run, and --compare takes two or more. Name one run, or several with --compare. "
            f"Received: {' '.join(map(str, runs))}",
            click.get_current_context(),
        )
    from crosscoop_tf.progress import EvaluateProgress

    from keras_crosscoop.data import dataset
    from keras_crosscoop.evaluation.report import check_new, measured, write_comparison, write_report
    from keras_crosscoop.runs import Run

    opened = [Run.open(run) for run in runs]
    own = opened[0].folder / "report.html"
    output = output or (Path("comparison.html") if compare else own)
    check_new(output, force=force or output == own)
    found = []
    for run in opened:
        data = dataset(run.settings.data.name, data_dir or run.settings.data.dir)
        run.check_classes(data)
        with EvaluateProgress(quiet=(run.folder / "metrics.json").exists()) as progress:
            found.append((run, measured(run, data, progress), data))
    if compare:
        for line in write_comparison(found, output):
            click.echo(f"crosscoop-tf: {line}.", err=True)
    else:
        run, figures, data = found[0]
        write_report(run, figures, run.load(), data, output)
    click.echo(f"Report: {output}")
