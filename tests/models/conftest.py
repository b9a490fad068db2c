"""Checkpoints as TensorFlow writes them, and archives of them."""

import io
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def save_checkpoint() -> Callable[[Path, Mapping[str, np.ndarray]], dict[str, bytes]]:
    """Writes arrays under these very names, as TensorFlow 1 did, and gives the contents of the files by their names."""
    import tensorflow as tf

    def save(prefix: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=list(arrays),
            shape_and_slices=[""] * len(arrays),
            tensors=[tf.constant(array) for array in arrays.values()],
        )
        return {file.name: file.read_bytes() for file in sorted(prefix.parent.glob(f"{prefix.name}.*"))}

    return save


@pytest.fixture(scope="session")
def packed() -> Callable[..., bytes]:
    """Makes an archive of contents by their names; None becomes a folder, a path becomes a link to it."""

    def pack(members: Mapping[str, bytes | Path | None], mode: str = "w:gz") -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode, **({"compresslevel": 1} if mode == "w:gz" else {})) as archive:
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                if content is None:
                    member.type = tarfile.DIRTYPE
                elif isinstance(content, Path):
                    member.type, member.linkname = tarfile.SYMTYPE, str(content)
                else:
                    member.size = len(content)
                archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
        return buffer.getvalue()

    return pack


@pytest.fixture
def unpacked_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where archives are unpacked for the time being: nothing may be left there."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="session")
def shared_pair(pair: Callable[..., Any]) -> Callable[..., Any]:
    """As `pair`, but builds the network of the same arguments once, and gives it its first weights back."""
    built = {}

    def build(**arguments: Any) -> Any:
        key = repr(sorted(arguments.items()))
        if key not in built:
            model = pair(**arguments)
            built[key] = model, model.get_weights()
        model, weights = built[key]
        model.set_weights(weights)
        return model

    return build
