"""The programs in docs/export.md work as they stand, without this package, and predict what the file predicts."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import photograph
from PIL import Image

from keras_crosscoop.export import load_exported, run_export

PAGE = (Path(__file__).parents[2] / "docs/export.md").read_text()
*ALONE, WITH_PACKAGE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
BLOCKS = dict(zip(("savedmodel", "tflite", "onnx"), ALONE, strict=True))
NEEDS = {"savedmodel": "tensorflow", "tflite": "ai_edge_litert", "onnx": "onnxruntime"}
RUN = Path("saved_models/street_scenes-1")
PLACES = {
    "savedmodel": RUN / "serving/1",
    "tflite": RUN / "tflite/ensemble-192x256-int8/model.tflite",
    "onnx": RUN / "onnx/ensemble-dynamic-float32/model.onnx",
}


@pytest.mark.parametrize(
    "name", ["tflite", *(pytest.param(name, marks=pytest.mark.slow) for name in ("savedmodel", "onnx"))]
)
def test_the_block_of_each_format(name, request, tmp_path, monkeypatch):
    """On a photo that is larger than the input size of the file."""
    monkeypatch.chdir(tmp_path)
    fixture = request.getfixturevalue(
        {"savedmodel": "saved_model", "tflite": "litert_files", "onnx": "onnx_file"}[name]
    )
    exported, place = fixture["none"] if name == "tflite" else fixture, PLACES[name]
    place.parent.mkdir(parents=True)
    shutil.copytree(exported, place) if exported.is_dir() else shutil.copy(exported, place)
    Image.fromarray(photograph(150, 200)[0].astype(np.uint8)).save("photo.jpg", quality=95)
    photo = np.asarray(Image.open("photo.jpg"))

    assert str(place) in BLOCKS[name]
    blocked = {"keras_crosscoop", "crosscoop_tf", "keras", *NEEDS.values()} - {NEEDS[name]}
    script = f"import sys\nsys.modules.update(dict.fromkeys({blocked}))\n{BLOCKS[name]}\n"
    script += "import numpy as np\nnp.save('classes.npy', np.squeeze(classes))\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]

    classes, expected = np.load("classes.npy"), load_exported(exported)(photo)["classes"]
    assert len(np.unique(expected)) == 3
    assert classes.shape == expected.shape
    # Pillow rounds down what it resizes: half of the numbers are one less, on which a pixel in a hundred hangs here
    assert (classes == expected).mean() > (0.98 if name == "tflite" else 0.9999)


def test_the_block_with_this_package(trained, data_dir, litert_files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained.folder, RUN)
    monkeypatch.setattr(
        run_export, "write_litert", lambda network, path, *rest: shutil.copy(litert_files["none"], path)
    )
    Image.fromarray(photograph(60, 80)[0].astype(np.uint8)).save("photo.png")
    script = WITH_PACKAGE.replace('dataset("street_scenes")', f"dataset('folder', {str(data_dir)!r})")
    names = {}
    exec(script.replace("photo.jpg", "photo.png"), names)
    assert names["path"] == RUN / "tflite/ensemble-40x56-float16/model.tflite"
    assert names["parity"]["agreement"] == 1
    assert names["classes"].shape == (60, 80)
