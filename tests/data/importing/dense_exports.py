"""Data sets whose masks name the class of every pixel, and VOC, of the scenes in `tool_exports`."""

import numpy as np
from data.importing.tool_exports import NAMES, SCENES, photograph, png, save_photograph, truth, write_json
from PIL import Image

from keras_crosscoop.images.palettes import voc_palette


def stored(name, values):
    """A mask of stored values."""
    ids = truth(name)
    return np.vectorize(values.get)(ids).astype(np.int32)


def make_ade20k(root, *, new=False):
    numbers = {"background": 0, "road": 300, "car": 21, "tree": 5}
    objects = {"road": 1, "car": 2, "tree": 3}
    for split, names in {"training": SCENES["train"], "validation": SCENES["val"]}.items():
        for name in names:
            path = root / "images" / split / "street" / f"{name}.png"
            save_photograph(path)
            ids = stored(name, numbers)
            instances = stored(name, {**objects, "background": 0}) * 40
            colours = np.stack([ids // 256 * 10, ids % 256, instances], -1).astype(np.uint8)
            (path.parent / f"{name}_seg.png").write_bytes(png(colours))
            if new:
                entries = [
                    {
                        "id": i,
                        "name": f"{label}, thing",
                        "raw_name": label,
                        "name_ndx": numbers[label],
                        "occluded": "no",
                        "parts": {"part_level": 0},
                    }
                    for label, i in objects.items()
                ]
                write_json(path.with_suffix(".json"), {"annotation": {"filename": path.name, "object": entries}})
            else:
                rows = [f'{i:03} # 0 # 0 # {label}, thing # {label} # ""' for label, i in objects.items()]
                rows.append('001 # 1 # 0 # wheel # wheel # ""')
                (path.parent / f"{name}_atr.txt").write_text("\n".join(rows))


def make_ade20k_2021(root):
    make_ade20k(root, new=True)


def make_kitti(root):
    """Its ids are those of Cityscapes; "tree" is "vegetation"."""
    for split, names in {"training": SCENES["train"], "validation": SCENES["val"]}.items():
        for name in names:
            save_photograph(root / split / "image_2" / f"{name}.png")
            ids = stored(name, {"background": 0, "road": 7, "car": 26, "tree": 21})
            for kind, values in (("semantic", ids.astype(np.uint8)), ("instance", (ids * 256).astype(np.uint16))):
                path = root / split / kind / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png(values))


def make_mapillary(root, *, version=""):
    names = ["car", "road", "tree", "Unlabeled"]
    colours = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 0, 0]]
    labels = [{"name": name, "readable": name, "color": colour} for name, colour in zip(names, colours, strict=True)]
    write_json(root / f"config{version and '_' + version}.json", {"labels": labels, "version": version or "1.1"})
    for split, scenes in {"training": SCENES["train"], "validation": SCENES["val"]}.items():
        for name in scenes:
            save_photograph(root / split / "images" / f"{name}.png")
            ids = stored(name, {"background": 3, "road": 1, "car": 0, "tree": 2}).astype(np.uint8)
            image = Image.fromarray(ids)
            image.putpalette(np.array(colours, np.uint8).tobytes())
            path = root / split / version / "labels" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)


def make_mapillary_2(root):
    make_mapillary(root, version="v2.0")


def make_voc(root):
    """As CVAT's "Segmentation mask" writes it, with `labelmap.txt`."""
    colours = {"background": (0, 0, 0), "road": (128, 64, 128), "car": (0, 0, 142), "tree": (107, 142, 35)}
    lines = [f"{name}:{','.join(map(str, colour))}::" for name, colour in colours.items()]
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "\n".join(lines))
    for split, names in {**SCENES, "trainval": NAMES}.items():
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(names))
    for name in NAMES:
        save_photograph(root / "JPEGImages" / f"{name}.png")
        ids = stored(name, {label: number for number, label in enumerate(colours)})
        path = root / "SegmentationClass" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(np.array(list(colours.values()), np.uint8)[ids]))


def make_synthia(root):
    """SYNTHIA-RAND, whose classes have other names."""
    colours = {"background": (0, 0, 0), "road": (128, 64, 128), "car": (64, 0, 128), "tree": (128, 128, 0)}
    (root / "GTTXT").mkdir()
    for name in NAMES:
        save_photograph(root / "RGB" / f"{name}.png")
        np.savetxt(
            root / "GTTXT" / f"{name}.txt", stored(name, {"background": 0, "road": 3, "car": 8, "tree": 6}), "%d"
        )
        ids = stored(name, {label: number for number, label in enumerate(colours)})
        path = root / "GT" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(np.array(list(colours.values()), np.uint8)[ids]))


def make_voc2012(root):
    """The official layout: palette files with void edges, objects, boxes, and images without masks."""
    ids = {"background": 0, "road": 9, "car": 7, "tree": 16}  # road is "chair", and tree "pottedplant"
    palette = np.array(voc_palette(256), np.uint8).tobytes()
    for folder in ("Segmentation", "Main"):
        (root / "ImageSets" / folder).mkdir(parents=True)
        for split, names in {**SCENES, "trainval": NAMES}.items():
            more = ["boxes"] if folder == "Main" and split != "val" else []
            (root / "ImageSets" / folder / f"{split}.txt").write_text("\n".join([*names, *more]))
    (root / "JPEGImages").mkdir()
    for name in [*NAMES, "boxes"]:
        photograph(name if name in NAMES else "one").save(root / "JPEGImages" / f"{name}.jpg")
    for name in NAMES:
        values = stored(name, ids).astype(np.uint8)
        values[:2] = 255  # void
        objects = stored(name, {"background": 0, "road": 1, "car": 2, "tree": 3}).astype(np.uint8)
        objects[:2] = 255
        for kind, array in (("SegmentationClass", values), ("SegmentationObject", objects)):
            image = Image.fromarray(array)
            image.putpalette(palette)
            (root / kind).mkdir(exist_ok=True)
            image.save(root / kind / f"{name}.png")
