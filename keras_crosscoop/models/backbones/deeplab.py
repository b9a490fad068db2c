"""Loads DeepLab's released weights of Xception-65: a TensorFlow checkpoint of the network trained on ImageNet."""

import re
from pathlib import Path

import keras

from keras_crosscoop.errors import InputError
from keras_crosscoop.models.weights import NoRoomError, TransferReport, fetch, load_hdf5, open_checkpoint, transfer

URL = "https://download.tensorflow.org/models/deeplabv3_xception_2018_01_04.tar.gz"

_UNIT = re.compile(r"(?P<flow>\w+_flow)_(?P<block>block\d+)_(?P<unit>unit_\d+)_(?P<layer>\w+)")


def checkpoint_names(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns the variables of Xception-65 by their names in DeepLab's checkpoints."""
    return {_checkpoint_name(*variable.path.split("/")[-2:]): variable for variable in model.variables}


def _checkpoint_name(layer: str, variable: str) -> str:
    """`entry_flow_block1_unit_1_shortcut_bn`, `gamma`: `xception_65/entry_flow/block1/unit_1/xception_module/...`."""
    scope = layer.removesuffix("_bn")
    if unit := _UNIT.fullmatch(scope):
        path = "{flow}/{block}/{unit}/xception_module/{layer}".format(**unit.groupdict())
    else:
        path = scope.replace("entry_flow_", "entry_flow/")
    if scope != layer:
        return f"xception_65/{path}/BatchNorm/{variable}"
    return f"xception_65/{path}/{'depthwise_weights' if layer.endswith('_depthwise') else 'weights'}"


def load_checkpoint(model: keras.Model, path: Path) -> TransferReport:
    """Loads Xception-65 from a DeepLab checkpoint of the backbone, or of a whole network (see `open_checkpoint`).

    Raises:
        InputError: There is no checkpoint, it cannot be read, or it belongs to another network.
    """
    with open_checkpoint(path) as source:
        return transfer(source, checkpoint_names(model), model=model.name)


def load(model: keras.Model, path: Path) -> TransferReport:
    """Loads Xception-65 from an HDF5 file, recognised by its suffix, or from a DeepLab checkpoint."""
    return (load_hdf5 if path.suffix in (".h5", ".keras") else load_checkpoint)(model, path)


def load_imagenet(model: keras.Model) -> TransferReport:
    """Loads the published Xception-65, which is fetched if it is not in Keras's cache.

    Raises:
        InputError: The archive cannot be fetched, or cannot be used. An unusable archive is removed, so that the next
            call fetches it again.
    """
    archive = fetch(URL)
    try:
        return load_checkpoint(model, archive)
    except NoRoomError:
        raise
    except InputError as error:
        archive.unlink(missing_ok=True)
        raise InputError(
            f"The fetched archive cannot be used and was removed. Try again to fetch a new copy. {error}"
        ) from error
