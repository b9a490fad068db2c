"""The rules of the design that no single module can hold: who imports whom, what code may contain, how long it is."""

import ast
import re
import statistics
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "keras_crosscoop").rglob("*.py"))
COMMANDS = sorted((ROOT / "cli").rglob("*.py"))

OPERATIONS = {
    "backend",
    "errors",
    "labels",
    "keras_internals",
    "layers",
    "losses",
    "metrics",
    "precision",
    "replicas",
    "images",
    "system",
}
BELOW = OPERATIONS | {"models", "data"}
MAY_IMPORT = {  # the parts of the library that each part may import beside itself
    **dict.fromkeys(OPERATIONS, OPERATIONS),
    "models": OPERATIONS,
    "data": OPERATIONS,
    "config": {"errors", "system", "models"},
    "runs": BELOW | {"config"},
    "planning": BELOW | {"config"},
    "training": BELOW | {"config", "runs", "planning"},
    "evaluation": BELOW | {"config", "runs"},
    "export": BELOW | {"config", "runs"},
    "ablation": BELOW | {"config", "runs", "training", "evaluation"},
    "__init__": BELOW | {"config", "runs", "training", "evaluation", "export"},
}
FOREIGN_TO_LIBRARY = {"click", "rich", "crosscoop_tf", "cli"}
HEAVY = {"keras_cv", "tensorflow_datasets"}


def identify(path):
    return str(path.relative_to(ROOT))


def for_every(paths):
    """Makes one test of a rule about a file, which lists all files that break it."""

    def decorate(rule):
        def test():
            broken = {}
            for path in paths:
                try:
                    rule(path)
                except AssertionError as error:
                    broken[identify(path)] = str(error)
            assert broken == {}

        return test

    return decorate


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(nodes):
    """Full names of the modules, and of the names taken from them: `a.b` and `a.b.c` for `from a.b import c`."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their whole path"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_level(node):
    """The statements that run on import: all but the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from module_level(child)


def parts_imported(nodes):
    """The parts of this library: "models" for `keras_crosscoop.models.head`."""
    return {name.split(".")[1] for name in imported(nodes) if name.startswith("keras_crosscoop.")}


def part(path):
    return path.relative_to(ROOT / "keras_crosscoop").parts[0].removesuffix(".py")


@for_every(LIBRARY)
def test_imports_point_one_way(path):
    assert part(path) in MAY_IMPORT, "say here what it may import"
    assert parts_imported(ast.walk(tree(path))) <= MAY_IMPORT[part(path)] | {part(path)}


@for_every(LIBRARY)
def test_the_library_knows_nothing_of_the_command_line(path):
    assert not {name.split(".")[0] for name in imported(ast.walk(tree(path)))} & FOREIGN_TO_LIBRARY


@for_every(LIBRARY + COMMANDS)
def test_heavy_packages_are_imported_where_they_are_used(path):
    assert not {name.split(".")[0] for name in imported(module_level(tree(path)))} & HEAVY


@for_every(LIBRARY)
def test_library_code_neither_asserts_nor_prints_nor_swallows(path):
    for node in ast.walk(tree(path)):
        assert not isinstance(node, ast.Assert), f"assert in line {node.lineno}"
        assert not (isinstance(node, ast.Name) and node.id == "print"), f"print in line {node.lineno}"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"bare except in line {node.lineno}"


# Of named tuples; of a converter that will be replaced.
NOT_KERAS = {"_asdict", "_replace", "_experimental_calibrate_only"}


@cache
def keras_attributes():
    """The underscore attributes of Keras's objects."""
    import keras

    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    objects = [inputs, model, model.optimizer, model.layers[1], keras.metrics.Mean(), keras.losses.MeanSquaredError()]
    return {name for item in objects for name in dir(item) if re.match("_[^_]", name)}


def private_names(module):
    """The underscore names and private modules of Keras and TensorFlow that a module uses."""
    nodes = list(ast.walk(module))
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    own = {node for node in attributes if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")}
    foreign = {node.attr for node in attributes if node not in own} - defined - {node.attr for node in own} - NOT_KERAS
    yield from (name for name in foreign if re.match("_[^_]", name) or name == "raw_ops")
    for subclass in (node for node in nodes if isinstance(node, ast.ClassDef) and node.bases):
        names = {getattr(node, "attr", getattr(node, "name", None)) for node in ast.walk(subclass)}
        yield from names & keras_attributes()
    yield from (name for name in imported(nodes) if re.match(r"keras\.src|tensorflow\.(python|raw_ops)", name))


@for_every([path for path in LIBRARY if path.stem != "keras_internals"])
def test_private_names_of_keras_and_tensorflow_stand_in_one_module(path):
    assert set(private_names(tree(path))) == set()


def test_the_rules_see_what_they_forbid():
    """The helpers above, on code that breaks each rule."""
    bad = ast.parse(
        "import keras_cv.layers\n"
        "from keras_crosscoop import data, layers as l\n"
        "if 1:\n    from keras_crosscoop.training.optimizer import SGD\n"
        "class A:\n    import click\n"
        "def f():\n    import rich, tensorflow_datasets\n    from keras_crosscoop.runs import load\n"
    )
    private = ast.parse(
        "from keras.src import a\n"
        "class B(Model):\n    def _flatten_layers(self):\n        return tf.raw_ops.Pad(self.x._handle)\n"
    )
    assert set(private_names(private)) >= {"keras.src.a", "raw_ops", "_handle", "_flatten_layers"}
    assert parts_imported(ast.walk(bad)) == {"data", "layers", "training", "runs"}
    assert {name.split(".")[0] for name in imported(ast.walk(bad))} == {
        "keras_cv",
        "keras_crosscoop",
        "click",
        "rich",
        "tensorflow_datasets",
    }
    assert {name.split(".")[0] for name in imported(module_level(bad))} == {"keras_cv", "keras_crosscoop", "click"}


def test_files_are_short():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in LIBRARY + COMMANDS}
    assert {identify(path): length for path, length in lengths.items() if length > 400} == {}
    assert statistics.median(lengths.values()) < 150
    assert len(lengths) > 30


def test_every_package_is_installed():
    listed = (ROOT / "setup.cfg").read_text().split("packages =")[1].split("package_dir")[0].split()
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in LIBRARY if path.name == "__init__.py"}
    assert {name for name in listed if name.startswith("keras")} == packages


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_command_line_answers_without_keras(option):
    script = (
        "import sys\n"
        "from crosscoop_tf.main import main\n"
        f"sys.argv = ['crosscoop-tf', {option!r}]\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code\n"
        "heavy = {'keras', 'tensorflow', 'numpy', 'keras_cv', 'tensorflow_datasets', 'keras_crosscoop'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "crosscoop-tf" in done.stdout
    assert done.stderr.splitlines()[-1] == "[]"


def test_importing_the_library_sets_nothing_for_the_process_and_imports_nothing_heavy():
    script = """
import keras, logging, numpy, os, random, signal, sys, warnings
import tensorflow, matplotlib, PIL.Image, PIL.ImageFile
from tensorflow.python.framework import config
def state():
    return {
        "environment": dict(os.environ),
        "warnings": [str(entry) for entry in warnings.filters],
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "logging": [(logger.level, logger.handlers) for logger in map(logging.getLogger, (None, "PIL", "absl"))],
        "random": (random.getstate(), repr(numpy.random.get_state()), config.is_op_determinism_enabled()),
        "pillow": (PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES),
        "keras": (keras.config.dtype_policy().name, keras.config.floatx(), keras.config.image_data_format()),
        "matplotlib": dict(matplotlib.rcParams),
        "numpy": (numpy.geterr(), repr(numpy.get_printoptions())),
        "recursion": sys.getrecursionlimit(),
    }
before = state()
import keras_crosscoop
heavy = {"keras_cv", "tensorflow_datasets"} & set(sys.modules)
from keras_crosscoop import ablation, data, evaluation, export, training
from keras_crosscoop.system import devices
from keras_crosscoop.evaluation import report
after = state()
print([*heavy, *(name for name in before if before[name] != after[name])])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
