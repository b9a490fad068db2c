"""What docs/export.md shows works as it stands, without this package, and sees what the exported file sees."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import photograph
from PIL import Image

from keras_crosscoop import dataset
from keras_crosscoop.export import export, opened

PAGE = (Path(__file__).parents[2] / "docs/export.md").read_text()
*ALONE, WITH_PACKAGE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
BLOCKS = dict(zip(("savedmodel", "tflite", "onnx"), ALONE, strict=True))
NEEDS = {"savedmodel": "tensorflow", "tflite": "ai_edge_litert", "onnx": "onnxruntime"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "tflite")) for name in BLOCKS])
def test_the_block_of_each_format(name, make_run, data_dir, tmp_path, monkeypatch):
    """On a photo that is larger than what a file of one size was made for."""
    monkeypatch.chdir(tmp_path)
    run = make_run(Path("saved_models/street_scenes-1").absolute())
    path, _ = export(run, dataset("folder", data_dir), name)
    photo = photograph(150, 200)[0].astype(np.uint8)
    Image.fromarray(photo).save("photo.jpg", quality=95)
    photo = np.asarray(Image.open("photo.jpg"))

    script = BLOCKS[name].replace("192x256-int8", "40x56-float32")  # of a random network int8 leaves little
    assert str(path.relative_to(tmp_path)) in script
    blocked = {"keras_crosscoop", "crosscoop_tf", "keras", *NEEDS.values()} - {NEEDS[name]}
    script = f"import sys\nsys.modules.update(dict.fromkeys({blocked}))\n{script}\n"
    script += "import numpy as np\nnp.save('classes.npy', np.squeeze(classes))\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]

    found, expected = np.load("classes.npy"), opened(path)(photo)["classes"]
    assert len(np.unique(expected)) == 3
    assert found.shape == expected.shape
    # Pillow rounds down what it resizes: half of the numbers are one less, on which a pixel in a hundred hangs here
    assert (found == expected).mean() > (0.98 if name == "tflite" else 0.9999)


def test_the_block_with_this_package(make_run, data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(Path("saved_models/street_scenes-1").absolute())
    Image.fromarray(photograph(60, 80)[0].astype(np.uint8)).save("photo.png")
    script = WITH_PACKAGE.replace('dataset("street_scenes")', f"dataset('folder', {str(data_dir)!r})")
    names = {}
    exec(script.replace("photo.jpg", "photo.png").replace('="float16"', '="none"'), names)
    assert names["path"] == Path("saved_models/street_scenes-1/tflite/ensemble-40x56-float32/model.tflite")
    assert names["found"]["agreement"] == 1
    assert names["classes"].shape == (60, 80)
