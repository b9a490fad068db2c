"""Throughput of predictions on image files, against the network alone.

    python benchmarks/prediction.py IMAGES

IMAGES is a folder. Decoding, the network, class ids and overlays of `crosscoop-tf predict` are timed against
`model.predict_on_batch` on the same images, decoded in memory. Both take turns. The network is the paper's pair, or
another with `--pair`, with random weights.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from training import PAIRS

from keras_crosscoop import CrossCoop
from keras_crosscoop.evaluation.file_predictor import FilePredictor
from keras_crosscoop.evaluation.predictor import LocalPredictor
from keras_crosscoop.evaluation.sources import Source, find_sources, make_folders
from keras_crosscoop.images.io import read_image
from keras_crosscoop.images.palettes import voc_palette
from keras_crosscoop.models.inference import Inference

CLASSES = 21
TURN = 20  # images: more than are in progress at once, so that reading and writing count


def seconds_of_files(predict_files: FilePredictor, sources: list[Source]) -> float:
    """Returns the seconds from files to files."""
    start = time.perf_counter()
    for error in predict_files(sources):
        if error:
            raise error
    return time.perf_counter() - start


def seconds_of_network(model: CrossCoop, images: list[np.ndarray], batch: int) -> float:
    """Returns the seconds from arrays to arrays."""
    start = time.perf_counter()
    for first in range(0, len(images), batch):
        model.predict_on_batch(np.stack(images[first : first + batch]))
    return time.perf_counter() - start


def main() -> None:
    """Prints the ratio of each batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--pair", choices=PAIRS, default="paper")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[1, 4])
    arguments = parser.parse_args()
    model = CrossCoop(CLASSES, **PAIRS[arguments.pair], weights=None)
    classes = [f"class {index}" for index in range(CLASSES)]
    predictor = LocalPredictor(Inference(model))
    with tempfile.TemporaryDirectory() as folder:
        sources = find_sources([arguments.images], Path(folder))[: arguments.count]
        make_folders(sources)
        images = [read_image(source.path) for source in sources]
        size = "{1}x{0}".format(*images[0].shape)
        print(f"{arguments.pair} pair, {len(sources)} images, the first of {size} pixels")
        for batch in arguments.batch_size:
            predict_files = FilePredictor(predictor, classes, voc_palette(CLASSES), batch_size=batch)
            seconds = []
            for first in range(-TURN, len(sources), TURN):
                turn = slice(max(first, 0), max(first, 0) + TURN)
                seconds.append(
                    (seconds_of_network(model, images[turn], batch), seconds_of_files(predict_files, sources[turn]))
                )
            network, files = np.sum(seconds[1:], axis=0)  # without the first, which warmed up
            ratios = [network / files for network, files in seconds[1:]]
            print(
                f"  batches of {batch}: {len(sources) / files:.2f} images/s, {network / files:.2f} times as many as "
                f"the network alone (single turns: {min(ratios):.2f} to {max(ratios):.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
