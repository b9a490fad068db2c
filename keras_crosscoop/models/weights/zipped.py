"""`.keras` files are zip archives: they are opened here, and nowhere else, and only as Keras writes them."""

import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WEIGHTS, CONFIG = "model.weights.h5", "config.json"


@contextmanager
def opened_keras_file(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens a `.keras` file whose members are not packed, not there twice, and as they were written.

    What is not packed cannot take more memory than the file is long.

    Raises:
        OSError, RuntimeError, zipfile.BadZipFile: it cannot be read, or is none.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        (name, times), *_ = Counter(member.filename for member in members).most_common(1) or [("", 0)]
        if times > 1:
            raise zipfile.BadZipFile(f"{name} is in it twice")
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
                raise zipfile.BadZipFile(f"{member.filename} is compressed, as Keras never writes it")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise zipfile.BadZipFile("its members are larger than the file")
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"{damaged} is not as it was written")
        yield archive
