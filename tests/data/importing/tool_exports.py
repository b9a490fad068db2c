"""Exports of annotation tools, written by hand in their formats, of scenes whose classes are known pixel by pixel."""

import base64
import io
import json
import zlib

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 30, 40
CLASSES = ("road", "car", "tree")
SCENES = {"train": ("one", "two"), "val": ("three",)}
NAMES = [name for names in SCENES.values() for name in names]

# An L of road; a car on it; a tree, which reaches over the edge of the road; a crowd of cars
ROAD = [(4, 8), (36, 8), (36, 28), (20, 28), (20, 18), (4, 18)]
CAR = [(24, 10), (30, 10), (30, 14), (24, 14)]
TREE = (slice(15, 22), slice(2, 9))
CROWD = (slice(24, 27), slice(22, 34))


def shift(name):
    """The objects of each scene lie elsewhere."""
    return NAMES.index(name)


def moved(corners, name):
    return [(x + shift(name), y) for x, y in corners]


def moved_slices(slices, name):
    return slices[0], slice(slices[1].start + shift(name), slices[1].stop + shift(name))


def block(slices):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[slices] = True
    return mask


def truth(name, *, crowd=False, background="background"):
    """The name of the class of each pixel."""
    ids = np.full((HEIGHT, WIDTH), background, object)
    offset = shift(name)
    ids[8:18, 4 + offset : 36 + offset] = "road"
    ids[18:28, 20 + offset : 36 + offset] = "road"
    ids[moved_slices(TREE, name)] = "tree"
    ids[10:14, 24 + offset : 30 + offset] = "car"
    if crowd:
        ids[moved_slices(CROWD, name)] = "void"
    return ids


def photograph(name):
    rng = np.random.default_rng(shift(name))
    return Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))


def save_photograph(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    photograph(path.stem).save(path)


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "png")
    return buffer.getvalue()


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def run_lengths(mask):
    """COCO's run lengths of a mask, down its columns."""
    pixels = mask.T.ravel().astype(int)
    changes = [0, *(np.flatnonzero(np.diff(pixels)) + 1), len(pixels)]
    counts = np.diff(changes).tolist()
    return counts if pixels[0] == 0 else [0, *counts]


def compressed(counts):
    """COCO's text of run lengths, as `rleToString` writes it."""
    text = ""
    for number, count in enumerate(counts):
        value = count - counts[number - 2] if number > 2 else count
        while True:
            bits, value = value & 0x1F, value >> 5
            more = value != (-1 if bits & 0x10 else 0)
            text += chr(bits + (0x20 if more else 0) + 48)
            if not more:
                break
    return text


def flat(corners):
    return [float(number) for corner in corners for number in corner]


def coco(names, *, file_name="{}.png", first_id=1, crowd=False, text=True):
    """The content of a COCO file."""
    images, annotations = [], []
    for number, name in enumerate(names, 1):
        images.append({"id": number, "file_name": file_name.format(name), "width": WIDTH, "height": HEIGHT})
        tree = run_lengths(block(moved_slices(TREE, name)))
        shapes = [
            ("car", [flat(moved(CAR, name))], 0),
            ("tree", {"size": [HEIGHT, WIDTH], "counts": compressed(tree) if text else tree}, 0),
            ("road", [flat(moved(ROAD, name))], 0),
        ]
        if crowd:
            counts = run_lengths(block(moved_slices(CROWD, name)))
            shapes.append(("car", {"size": [HEIGHT, WIDTH], "counts": counts}, 1))
        for category, segmentation, is_crowd in shapes:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": CLASSES.index(category) + first_id,
                    "segmentation": segmentation,
                    "bbox": [0, 0, 1, 1],
                    "area": 1,
                    "iscrowd": is_crowd,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, first_id)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def make_coco(root):
    """COCO's own folders."""
    for split, names in SCENES.items():
        write_json(root / f"annotations/instances_{split}2017.json", coco(names, crowd=True))
        write_json(root / f"annotations/captions_{split}2017.json", {"images": [], "annotations": []})
        for name in names:
            save_photograph(root / f"{split}2017/{name}.png")


def make_coco_with_folders(root):
    """`images/`, file names with folders, and uncompressed run lengths."""
    for split, names in SCENES.items():
        content = coco(names, file_name="camera/{}.png", text=False)
        write_json(root / f"annotations/instances_{split}.json", content)
        for name in names:
            save_photograph(root / f"images/camera/{name}.png")


def make_roboflow(root):
    for split, names in {"train": SCENES["train"], "valid": SCENES["val"]}.items():
        content = coco(names, first_id=1)
        content["categories"].insert(0, {"id": 0, "name": "things", "supercategory": "none"})
        write_json(root / split / "_annotations.coco.json", content)
        for name in names:
            save_photograph(root / split / f"{name}.png")


def make_label_studio_coco(root):
    """Its first category has the id 0, and its paths are those of the server."""
    content = coco(NAMES, first_id=0, file_name="../../label-studio/data/media/upload/1/{}.png")
    write_json(root / "result.json", content)
    for name in NAMES:
        save_photograph(root / "images" / f"{name}.png")


def make_label_studio_png(root):
    tasks = []
    for task, name in enumerate(NAMES, 11):
        save_photograph(root / "photos" / f"{name}.png")
        tasks.append({"id": task, "data": {"image": f"/data/upload/1/{name}.png"}, "annotations": []})
        masks = {"road": np.zeros((HEIGHT, WIDTH), bool), "car": np.zeros((HEIGHT, WIDTH), bool)}
        offset = shift(name)
        masks["road"][8:18, 4 + offset : 36 + offset] = True
        masks["road"][18:28, 20 + offset : 36 + offset] = True
        masks["car"][10:14, 24 + offset : 30 + offset] = True
        masks["tree"] = block(moved_slices(TREE, name))
        for label, mask in masks.items():
            path = root / f"task-{task}-annotation-{task + 5}-by-1-tag-{label}-0.png"
            path.write_bytes(png(mask.astype(np.uint8) * 255))
    write_json(root / "project-1.json", tasks)


def make_cvat(root):
    labels = "".join(f"<label><name>{name}</name><color>#0a0b0{i}</color></label>" for i, name in enumerate(CLASSES))
    images = ""
    for number, name in enumerate(NAMES):
        subset = "Train" if name in SCENES["train"] else "Validation"
        rows, columns = moved_slices(TREE, name)
        height, width = rows.stop - rows.start, columns.stop - columns.start

        def points(corners, name=name):
            return ";".join(f"{x:.2f},{y:.2f}" for x, y in moved(corners, name))

        images += (
            f'<image id="{number}" name="{name}.png" subset="{subset}" width="{WIDTH}" height="{HEIGHT}">'
            f'<polygon label="car" source="manual" occluded="0" points="{points(CAR)}" z_order="0"></polygon>'
            f'<mask label="tree" source="manual" occluded="0" rle="0, {height * width}" left="{columns.start}" '
            f'top="{rows.start}" width="{width}" height="{height}" z_order="0"></mask>'
            f'<polygon label="road" source="manual" occluded="0" points="{points(ROAD)}" z_order="0"></polygon>'
            f'<box label="car" occluded="0" xtl="1" ytl="1" xbr="9" ybr="9" z_order="0"></box></image>'
        )
        save_photograph(root / "images" / subset / f"{name}.png")
    (root / "annotations.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><project><labels>{labels}'
        f"</labels></project></meta>{images}</annotations>"
    )


def make_labelme(root, *, embedded=False):
    for split, names in SCENES.items():
        for name in names:
            save_photograph(root / split / f"{name}.png")
            rows, columns = moved_slices(TREE, name)
            corners = [[columns.start, rows.start], [columns.stop - 1, rows.stop - 1]]
            mask = base64.b64encode(png(np.ones((rows.stop - rows.start, columns.stop - columns.start), bool))).decode()
            (x0, y0), _, (x1, y1), _ = moved(CAR, name)
            shapes = [
                {"label": "car", "points": [[x0, y0], [x1, y1]], "shape_type": "rectangle", "flags": {}},
                {"label": "tree", "points": corners, "shape_type": "mask", "flags": {}, "mask": mask},
                {"label": "road", "points": moved(ROAD, name), "shape_type": "polygon", "group_id": None, "flags": {}},
                {"label": "car", "points": [[1, 1], [5, 5]], "shape_type": "line", "flags": {}},
            ]
            path = root / split / f"{name}.png"
            content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"..\\photos\\{name}.png"}
            content["imageData"] = base64.b64encode(path.read_bytes()).decode() if embedded else None
            write_json(path.with_suffix(".json"), content | {"imageHeight": HEIGHT, "imageWidth": WIDTH})
            if embedded:
                path.unlink()


def make_labelme_embedded(root):
    make_labelme(root, embedded=True)


def make_yolo(root, *, roboflow=False):
    for split, names in SCENES.items():
        for name in names:
            folder = (f"{split}/images", f"{split}/labels") if roboflow else (f"images/{split}", f"labels/{split}")
            save_photograph(root / folder[0] / f"{name}.png")
            (x0, y0), (x1, y1) = [(s.start, s.stop) for s in moved_slices(TREE, name)][::-1]
            tree = [(x0, x1), (y0, x1), (y0, y1), (x0, y1)]
            lines = []
            for number, corners in enumerate((moved(ROAD, name), moved(CAR, name), tree)):
                numbers = [f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in corners]
                lines.append(f"{number} {' '.join(numbers)}")
            path = root / folder[1] / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join([*lines, "1 0.5 0.5 0.1 0.1"]))
    if roboflow:
        (root / "data.yaml").write_text(
            "train: ../train/images\nval: ../val/images\nnc: 3\nnames: ['road', 'car', 'tree']\n"
        )
    else:
        names = "".join(f"  {number}: {name}\n" for number, name in enumerate(CLASSES))
        (root / "data.yaml").write_text(f"path: /datasets/cars\ntrain: images/train\nval: images/val\nnames:\n{names}")


def make_yolo_roboflow(root):
    make_yolo(root, roboflow=True)


def make_label_studio_yolo(root):
    make_yolo(root)
    (root / "data.yaml").unlink()
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")


def make_supervisely(root):
    classes = [{"title": name, "shape": "any", "color": f"#{i}0{i}0{i}0"} for i, name in enumerate(CLASSES, 1)]
    write_json(root / "meta.json", {"classes": classes, "tags": []})
    for split, names in SCENES.items():
        for name in names:
            save_photograph(root / split / "img" / f"{name}.png")
            rows, columns = moved_slices(TREE, name)
            tree = png(np.ones((rows.stop - rows.start, columns.stop - columns.start), bool))
            bitmap = {"data": base64.b64encode(zlib.compress(tree)).decode(), "origin": [columns.start, rows.start]}
            objects = [{"classTitle": "tree", "geometryType": "bitmap", "bitmap": bitmap, "tags": []}]
            # Its corners are pixels, and the outline belongs to the object.
            road = [(4, 8), (35, 8), (35, 27), (20, 27), (20, 17), (4, 17)]
            car = [(24, 10), (29, 10), (29, 13), (24, 13)]
            for title, corners in (("road", road), ("car", car)):
                points = {"exterior": moved(corners, name), "interior": []}
                objects.append({"classTitle": title, "geometryType": "polygon", "points": points, "tags": []})
            content = {"description": "", "tags": [], "size": {"height": HEIGHT, "width": WIDTH}, "objects": objects}
            write_json(root / split / "ann" / f"{name}.png.json", content)
