"""Throughput of training samples, against OpenCV and albumentations in a PyTorch `DataLoader` of two workers.

    pip install -e . opencv-python-headless albumentations torch
    python benchmarks/data_pipeline.py CAMVID

CAMVID is a folder in the layout of data set `camvid`. Both decode, scale by 0.5 to 2, pad, crop and flip, and hand out
batches of 6, of CamVid's JPEGs at 513 pixels and of PNGs of Cityscapes' size (made here of CamVid, unless --cityscapes
names a folder of the same layout) at 768. Each reads in a process of its own; they take turns, and the others wait with
full buffers meanwhile, which do not count. Prints images a second and ratios, and what memory and start-up take.
"""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

BATCH = 6
SCALE = (0.5, 2.0)
CITYSCAPES = (2048, 1024)  # width and height
BUFFERED = 8  # batches, at most, that were made while others had their turn


def ours(folder: str, crop: int) -> Iterator:
    """Yields batches of this package."""
    from keras_crosscoop import load_dataset

    yield from load_dataset(
        "camvid",
        "train",
        data_dir=folder,
        training=True,
        crop_size=crop,
        scale=SCALE,
        photometric="none",
        batch_size=BATCH,
        repeat=True,
    )


def pytorch(folder: str, crop: int) -> Iterator:
    """Yields batches of the usual PyTorch code for the same work."""
    import albumentations
    import cv2
    from torch.utils.data import DataLoader, Dataset

    cv2.setNumThreads(0)
    grey, void = 128, 255
    changes = albumentations.Compose(
        [
            albumentations.RandomScale(
                (SCALE[0] - 1, SCALE[1] - 1),
                interpolation=cv2.INTER_LINEAR,
                mask_interpolation=cv2.INTER_NEAREST,
                p=1,
            ),
            albumentations.PadIfNeeded(crop, crop, border_mode=cv2.BORDER_CONSTANT, fill=grey, fill_mask=void),
            albumentations.RandomCrop(crop, crop),
            albumentations.HorizontalFlip(p=0.5),
        ]
    )

    class Pairs(Dataset):
        def __init__(self) -> None:
            self.images = sorted(path for path in Path(folder, "train").iterdir())
            self.labels = [Path(folder, "trainannot", f"{path.stem}.png") for path in self.images]

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            image = cv2.cvtColor(cv2.imread(str(self.images[index])), cv2.COLOR_BGR2RGB)
            label = cv2.imread(str(self.labels[index]), cv2.IMREAD_UNCHANGED)
            changed = changes(image=image, mask=label)
            return changed["image"], changed["mask"]

    loader = DataLoader(Pairs(), BATCH, shuffle=True, num_workers=2, persistent_workers=True, drop_last=True)
    while True:
        yield from loader


def serve(name: str, folder: str, crop: int) -> None:
    """Reads a number from each line of stdin, draws that many batches, and prints the seconds."""
    batches = {"ours": ours, "pytorch": pytorch}[name](folder, crop)
    for line in sys.stdin:
        for _ in range(BUFFERED):
            next(batches)
        start = time.perf_counter()
        for _ in range(int(line)):
            next(batches)
        print(json.dumps([time.perf_counter() - start, peak_memory()]), flush=True)
    os._exit(0)  # without waiting for samples that nobody wants


def peak_memory() -> float:
    """Returns the peak memory of this process in MiB, on Linux; it does not include workers."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))[1]) / 1024


class Contender:
    """A process that reads on demand."""

    def __init__(self, name: str, folder: Path, crop: int) -> None:
        command = [sys.executable, __file__, "--serve", name, "--crop", str(crop), str(folder)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env=environment,
        )
        self.memory = 0.0

    def images_per_second(self, batches: int) -> float:
        """Returns the images a second over that many batches."""
        self.process.stdin.write(f"{batches}\n")
        self.process.stdin.flush()
        seconds, self.memory = json.loads(self.process.stdout.readline())
        return BATCH * batches / seconds

    def end(self) -> None:
        """Ends the process and its workers."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def compare(title: str, contenders: dict[str, tuple[str, Path]], crop: int, batches: int, rounds: int) -> None:
    """Prints each contender's images a second, and the median of its ratios to the last one's."""
    running = {label: Contender(name, folder, crop) for label, (name, folder) in contenders.items()}
    try:
        for contender in running.values():  # warm up: import, autotune, fill the page cache
            contender.images_per_second(batches)
        speeds = {label: [] for label in running}
        for _ in range(rounds):
            for label, contender in running.items():
                speeds[label].append(contender.images_per_second(batches))
    finally:
        for contender in running.values():
            contender.end()
    base = list(speeds.values())[-1]
    print(title)
    for label, figures in speeds.items():
        ratios = [figure / other for figure, other in zip(figures, base, strict=True)]
        print(
            f"  {label:<44} {statistics.median(figures):8.1f} images/s   {statistics.median(ratios):5.2f} x "
            f"({min(ratios):.2f} to {max(ratios):.2f})   {running[label].memory:6.0f} MiB",
            flush=True,
        )


def records(folder: Path, into: Path) -> Path:
    """Writes the same data set as records."""
    options = ["--data-dir", str(folder), "--records", str(into), "--split", "train"]
    subprocess.run(["crosscoop-tf", "data", "prepare", "camvid", *options], check=True, stdout=subprocess.DEVNULL)
    return into


def enlarge(camvid: Path, into: Path, count: int) -> Path:
    """Writes `count` pairs of CamVid at the size of Cityscapes, with camera noise, so that they compress as badly."""
    for kind in ("train", "trainannot"):
        (into / kind).mkdir(parents=True)
    paths = sorted((camvid / "train").iterdir())

    def write(number: int) -> None:
        path = paths[number * len(paths) // count]
        rng = np.random.default_rng(number)
        with Image.open(path) as image, Image.open(camvid / "trainannot" / f"{path.stem}.png") as label:
            large = np.asarray(image.resize(CITYSCAPES, Image.Resampling.BICUBIC)).astype(float)
            noisy = (large + rng.normal(0, 1, large.shape)).round().clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(into / "train" / f"{path.stem}.png")
            label.resize(CITYSCAPES, Image.Resampling.NEAREST).save(into / "trainannot" / f"{path.stem}.png")

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(count)))
    return into


def start_up(pairs: Path, images: int, scratch: Path) -> None:
    """Prints the seconds from the import of the package to the first batch, for that many files."""
    for kind in ("train", "trainannot"):
        (scratch / kind).mkdir(parents=True)
        source = sorted((pairs / kind).iterdir())
        for number in range(images):
            path = source[number % len(source)]
            os.link(path, scratch / kind / f"{number:06}{path.suffix}")
    script = (
        "import sys, time, os, keras_crosscoop\n"
        "keras_crosscoop.load_dataset\n"
        "start = time.perf_counter()\n"
        "next(iter(keras_crosscoop.load_dataset('camvid', 'train', data_dir=sys.argv[1], training=True,"
        f" crop_size=768, batch_size={BATCH}, repeat=True)))\n"
        "print(f'{time.perf_counter() - start:.1f}', flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(scratch)], capture_output=True, text=True, check=True)
    print(f"From {images:,} pairs of files to the first batch: {done.stdout.strip()} s")


def main() -> None:
    """Runs all comparisons, or one side of one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--cityscapes", type=Path, help="large pairs in the layout of camvid; made of CamVid by default"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--crop", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, str(arguments.folder), arguments.crop)
        return
    scratch = Path(tempfile.mkdtemp(prefix="data_pipeline-"))
    try:
        large = arguments.cityscapes or enlarge(arguments.folder, scratch / "large", 48)
        for title, folder, crop, batches in (
            ("CamVid's JPEGs, crops of 513", arguments.folder, 513, 400),
            ("PNGs of Cityscapes' size, crops of 768", large, 768, 25),
        ):
            contenders = {
                "from records": ("ours", records(folder, scratch / f"records-{crop}")),
                "from files": ("ours", folder),
                "OpenCV, albumentations, PyTorch DataLoader": ("pytorch", folder),
            }
            compare(title, contenders, crop, batches, arguments.rounds)
        start_up(arguments.folder, 3000, scratch / "many")
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
