"""Deterministic damage to files: of their bytes, their text, the values in their JSON, the objects in their HDF5."""

import io
import json
import zipfile
import zlib
from contextlib import suppress

import h5py
import numpy as np

NUMBERS = [0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF]


def of_bytes(content, rng, others=()):
    """Some bits flipped, a piece cut out, doubled, emptied or spliced in, a large number put in, or the end cut off."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        if not data:
            break
        at = rng.randrange(len(data))
        stop = min(len(data), at + rng.choice([1, 4, 16, 256, 4096]))
        match rng.choice(["flip", "flip", "byte", "number", "cut", "double", "zero", "splice", "end"]):
            case "flip":
                data[at] ^= 1 << rng.randrange(8)
            case "byte":
                data[at] = rng.randrange(256)
            case "number":
                size = rng.choice([2, 4, 8])
                number = (rng.choice(NUMBERS) & (256**size - 1)).to_bytes(size, rng.choice(["little", "big"]))
                data[at : at + size] = number
            case "cut":
                del data[at:stop]
            case "double":
                data[at:at] = data[at:stop]
            case "zero":
                data[at:stop] = bytes(stop - at)
            case "splice":
                other = rng.choice([content, *others])
                start = rng.randrange(len(other) or 1)
                data[at:stop] = other[start : start + stop - at]
            case "end":
                del data[at:]
    return bytes(data)


def of_png(content, rng, others=()):
    """A chunk's bytes changed, or its size, place or number, with a checksum that fits; or damage to the bytes."""
    if rng.random() < 0.4:
        return of_bytes(content, rng, others)
    chunks, at = [], 8
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    for _ in range(rng.choice([1, 1, 2])):
        place = rng.randrange(len(chunks))
        kind, data = chunks[place]
        match rng.choice(["size", "size", "header", "change", "remove", "double", "text", "insert"]):
            case "size":
                start = rng.choice([0, 4])
                side = rng.choice([0, 1, 100, 12_000, 20_000, 2**31 - 1, 2**32 - 1]).to_bytes(4, "big")
                chunks[0] = chunks[0][0], chunks[0][1][:start] + side + chunks[0][1][start + 4 :]
            case "header":
                start = rng.randrange(8, 13)
                header = bytearray(chunks[0][1].ljust(13, b"\0"))
                header[start] = rng.choice([0, 1, 2, 3, 4, 6, 8, 16, 255])
                chunks[0] = chunks[0][0], bytes(header)
            case "change":
                chunks[place] = kind, of_bytes(data, rng)
            case "remove" if len(chunks) > 1:
                del chunks[place]
            case "double":
                chunks.insert(place, chunks[place])
            case "text":
                packed = zlib.compress(bytes(2**26), 9)
                inserted = rng.choice([b"zTXt", b"iCCP", b"iTXt"]), rng.choice([b"a\0\0", b"a\0\1\0\0\0"]) + packed
                chunks.insert(rng.randrange(1, len(chunks) + 1), inserted)
            case "insert":
                name = rng.choice([b"eXIf", b"tRNS", b"PLTE", b"gAMA", b"acTL", b"fcTL", b"fdAT", b"sBIT", b"caNv"])
                chunks.insert(rng.randrange(1, len(chunks) + 1), (name, rng.randbytes(rng.choice([0, 4, 26, 300]))))
    written = (
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big") for kind, data in chunks
    )
    return content[:8] + b"".join(written)


TEXTS = [
    "9" * 5000,
    "-1",
    "1e308",
    "1e-400",
    "nan",
    ".inf",
    "null",
    "true",
    "''",
    "[]",
    "{}",
    "[" * 100_000,
    "{a: " * 3000,
    "- " * 5000,
    "&a [*a, *a]",
    "*a",
    "!!python/object/apply:os.system ['true']",
    "!!binary x",
    "!!timestamp x",
    "2001-99-99",
    "0x",
    "0b2",
    "1:2:3",
    "<<: {}",
    "? []",
    "\0",
    "\ufeff",
    "\ud7ff\u2028",
    "é" * 300,
    '"',
    "'",
    ": ",
    "\t",
    "\n",
    "---\n",
    "../../..",
    "#" * 10,
    "x" * 100_000,
]


def of_text(content, rng, others=()):
    """A token or line replaced, doubled, moved or removed; or damage to its bytes."""
    if rng.random() < 0.2:
        return of_bytes(content, rng, others)
    lines = content.decode().splitlines(keepends=True)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(lines) or 1)
        match rng.choice(["token", "token", "token", "insert", "double", "move", "remove", "indent"]) if lines else "":
            case "token":
                tokens = lines[at].split(" ")
                tokens[rng.randrange(len(tokens))] = rng.choice(TEXTS)
                lines[at] = " ".join(tokens) + "\n"
            case "insert":
                place = rng.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:place] + rng.choice(TEXTS) + lines[at][place:]
            case "double":
                lines.insert(at, lines[at])
            case "move":
                lines.insert(rng.randrange(len(lines)), lines.pop(at))
            case "remove":
                del lines[at]
            case "indent":
                lines[at] = " " * rng.randrange(9) + lines[at]
    return "".join(lines).encode(errors="surrogatepass")


VALUES = [
    *(None, True, False, 0, -1, 1, 2, 10**30, 2**63, 1e308, -1e-308, float("nan"), float("inf"), 0.5),
    *("", "a", "x" * 5000, "../../x", "\0", "NaN", "é", [], [[]], {}, {"a": 1}, [None], [1e9] * 3, {"class_name": "a"}),
    {"class_name": "Dense", "module": "keras.layers", "config": {"units": 2**40}, "registered_name": None},
]


def of_json(content, rng, others=()):
    """A value replaced by one of another kind or size, removed, doubled or moved; or damage to its text."""
    if rng.random() < 0.25:
        return of_text(content, rng, others)
    value = json.loads(content)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = list(_places(value))
        if not places:
            break
        inside, key = rng.choice(places)
        match rng.choice(["replace", "replace", "replace", "remove", "double", "swap"]):
            case "replace":
                inside[key] = rng.choice(VALUES)
            case "remove":
                del inside[key]
            case "double" if isinstance(inside, dict):
                inside[f"{key}x"] = inside[key]
            case "double":
                inside.extend([inside[key]] * rng.choice([1, 300]))
            case "swap":
                other, name = rng.choice(places)
                try:
                    inside[key], other[name] = other[name], inside[key]
                    json.dumps(value)
                except ValueError:  # one is inside the other
                    value = json.loads(content)
    return json.dumps(value).encode()


def _places(value):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in items:
        yield value, key
        yield from _places(inside)


def of_csv(content, rng, others=()):
    """A cell replaced, or damage to its text."""
    if rng.random() < 0.3:
        return of_text(content, rng, others)
    rows = [line.split(",") for line in content.decode().splitlines()]
    for _ in range(rng.choice([1, 2, 5])):
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = rng.choice([*TEXTS, "a,b", '"a\nb"'])
    return "\n".join(",".join(row) for row in rows).encode(errors="surrogatepass")


ARRAYS = [
    *(np.zeros((), "f4"), np.zeros(0, "f4"), np.zeros(3, "i8"), np.zeros(3, "c8"), np.full(4, np.nan, "f4")),
    *(np.zeros((3, 3), "f2"), np.array([1e300]), np.zeros(3, bool), np.bytes_(b"a"), "text", np.dtype("f4")),
    *(h5py.Empty("f4"), h5py.SoftLink("/"), h5py.SoftLink("/nowhere"), h5py.ExternalLink("/etc/hostname", "/")),
    np.zeros(2, [("a", "f4")]),
]


def of_hdf5(content, rng, others=()):
    """An object replaced, linked, removed, renamed or declared larger; an attribute replaced; or damage to bytes."""
    if rng.random() < 0.6:
        return of_bytes(content, rng, others)
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        names = []
        file.visit(names.append)
        for _ in range(rng.choice([1, 1, 2, 4])):
            name = rng.choice(names)
            with suppress(OSError, ValueError, RuntimeError, KeyError):  # after another change it may be impossible
                if name in file:
                    _change(file, name, rng)
    return buffer.getvalue()


def _change(file, name, rng):
    item = file[name]
    match rng.choice(["replace", "attribute", "link", "remove", "rename", "declare", "external", "virtual", "values"]):
        case "replace":
            del file[name]
            file[name] = rng.choice(ARRAYS)
        case "attribute":
            key = rng.choice([*item.attrs, "name", "weight_names", "layer_names", "dtype"])
            value = rng.choice([0, "", "x" * 1000, "bfloat16", [b"a", b"b"], np.zeros(1000), np.arange(3), "../.."])
            item.attrs[key] = value
        case "link" if isinstance(item, h5py.Group):
            item[f"other{rng.randrange(10**9)}"] = rng.choice([item, file["/"], h5py.SoftLink(item.name)])
        case "remove":
            del file[name]
        case "rename":
            file.move(name, f"{name}{rng.randrange(10**9)}")
        case "declare":
            del file[name]
            shape = rng.choice([(2**20, 2**20), (2**31,), (0, 5), (1,) * 30])
            packed = 0 not in shape and rng.random() < 0.5
            chunks = tuple(min(size, 64) for size in shape) if packed else None
            file.create_dataset(name, shape, "f4", chunks=chunks, compression="gzip" if packed else None)
        case "external":
            del file[name]
            file.create_dataset(name, (4,), "f4", external=[("/etc/hostname", 0, 16)])
        case "virtual":
            del file[name]
            layout = h5py.VirtualLayout((4,), "f4")
            layout[:] = h5py.VirtualSource(".", "/", (4,))
            file.create_virtual_dataset(name, layout)
        case "values" if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" and 0 < item.size < 10**6:
            item[...] = rng.choice([np.nan, np.inf, 1e38, 0])


def of_archive(**mutators):
    """Mutates one member of a zip archive by the function for its name, or the archive's bytes."""

    def mutate(content, rng, others=()):
        if rng.random() < 0.25:
            return of_bytes(content, rng, others)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = rng.choice([name for name in members if name.replace(".", "_") in mutators])
        members[name] = mutators[name.replace(".", "_")](members[name], rng)
        buffer = io.BytesIO()
        packing = rng.choice([zipfile.ZIP_STORED] * 9 + [zipfile.ZIP_DEFLATED])
        with zipfile.ZipFile(buffer, "w", packing) as archive:
            for member, data in members.items():
                archive.writestr(member, data)
        return buffer.getvalue()

    return mutate
