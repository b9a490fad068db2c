"""`crosscoop-tf predict`: pictures of what a run sees in images."""

from pathlib import Path

import click
from crosscoop_tf.quiet import TensorFlowCommand


@click.command(cls=TensorFlowCommand)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="The folder to write to.")
@click.option("--force", is_flag=True, help="Write over files of earlier predictions.")
def predict(run: Path, images: tuple[Path, ...], output: Path, force: bool) -> None:
    """Segment images: for each a palette PNG of class ids, and the image under its classes' colours, with a legend.

    \b
    crosscoop-tf predict saved_models/street_scenes-1 photo.jpg --output pictures
    crosscoop-tf predict saved_models/street_scenes-1 holiday/*.jpg --output pictures --force
    """
    from rich.console import Console
    from rich.progress import track

    from keras_crosscoop import evaluation
    from keras_crosscoop.runs import Run

    opened = Run.open(run)
    targets = evaluation.targets(images, output, force=force)
    model = opened.load()
    for image, target in track(targets, description="Segmenting", console=Console(stderr=True)):
        evaluation.draw_prediction(model, image, target, opened.classes, opened.palette)
    click.echo(f"Pictures: {output}")
