"""`crosscoop-tf data show`: a preview of training samples."""

from pathlib import Path

import click
from crosscoop_tf import recipes
from crosscoop_tf.settings import recipe_options, resolve
from crosscoop_tf.tensorflow_command import TensorFlowCommand


@click.command("show", cls=TensorFlowCommand)
@click.argument("name", metavar="NAME|FOLDER")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the data set.")
@recipe_options
@click.option("--seed", type=int, help="Seed of shuffling and augmentation.")
@click.option("--split", help="Split to draw. Default: the training split of the recipe.")
@click.option("--count", type=click.IntRange(1, 1000), default=12, show_default=True, help="Number of samples.")
@click.option("--output", type=click.Path(path_type=Path), help="PNG to write. Default: NAME_SPLIT.png.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def show(
    name: str,
    data_dir: Path | None,
    recipe: str | None,
    assignments: tuple[str, ...],
    seed: int | None,
    split: str | None,
    count: int,
    output: Path | None,
    force: bool,
) -> None:
    """Draw the first augmented samples that `fit` would train on, each beside its label in colours.

    Samples of images that are smaller than the crop are drawn with less padding.

    \b
    crosscoop-tf data show street_scenes
    crosscoop-tf data show camvid --data-dir CamVid --set data.crop_size=360 --output sheet.png
    crosscoop-tf data show MY_DATA --config my.yaml --seed 1 --count 24 --force
    """
    from rich.console import Console

    from keras_crosscoop.data import dataset
    from keras_crosscoop.data.catalogue import locate
    from keras_crosscoop.data.previews import draw_samples
    from keras_crosscoop.system.files import check_new_file

    located, data_dir = locate(name, data_dir)
    stem = recipes.file_name(name) if located == name else data_dir.resolve().stem
    settings = resolve(recipe, assignments, dataset=located, data_dir=data_dir, seed=seed)
    split = split or settings.data.train_split
    target = output or Path(f"{stem}_{split}.png")
    check_new_file(target, ".png", force=force)
    with Console(stderr=True).status("Drawing samples"):
        data = dataset(located, settings.data.dir)
        options = {**settings.data.augmentation, "on_error": settings.data.on_error}
        draw_samples(data, split, target, count=count, seed=settings.train.seed, **options)
    click.echo(f"Samples: {target}")
