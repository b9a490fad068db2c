"""More raw folders, see `raw_folders`, whose masks are coded in various ways."""

import numpy as np
from data.own.pictures import (
    ALL,
    CAR,
    CLASSES,
    COLOURS,
    ROAD,
    TREE,
    VOID,
    VOID_COLOUR,
    colours,
    four_classes,
    grey,
    lines,
    only_car,
    palette,
    picture,
    save,
    soft,
    table,
    text,
    truth,
    without_void,
    write,
)
from data.own.raw_folders import TWO_CLASSES, raw_folder, renumbered
from PIL import Image

# Codings


@raw_folder
def gaps(folder):
    """images, masks; values 0, 5, 100 and 200 by a table of ids."""
    write(folder, "images/{split}/{name}.png", "masks/{split}/{name}.png", encode=grey({ROAD: 5, CAR: 100, TREE: 200}))
    rows = [f"{value} {name}" for value, name in zip((0, 5, 100, 200), CLASSES, strict=True)]
    text(folder, "classes.txt", lines(*rows))
    return truth(without_void)


@raw_folder
def palette_by_colour(folder):
    """images, masks; palette in another order than the table of colours."""
    write(folder, "images/{split}/{name}.png", "masks/{split}/{name}.png", encode=palette(order=(2, 0, 3, 1)))
    text(folder, "class_dict.csv", lines("name,r,g,b", *table()))
    return truth(without_void)


@raw_folder
def rgba(folder):
    """images, masks; RGBA by a table of colours in which "unlabeled" is void."""
    opaque = [(*colour, 255) for colour in COLOURS]
    write(folder, "images/{split}/{name}.png", "masks/{split}/{name}.png", four_classes, colours(opaque))
    text(folder, "colors.csv", lines("r,g,b,name", *(f"{r},{g},{b},{n}" for n, (r, g, b) in _coloured("unlabeled"))))
    return truth(four_classes)


def _coloured(void):
    return [*zip(CLASSES, COLOURS, strict=True), (void, VOID_COLOUR)]


@raw_folder
def grey_alpha(folder):
    """images, masks; ids in grey masks with an opaque alpha channel."""
    encode = lambda ids: np.stack([ids, np.full_like(ids, 255)], -1)  # noqa: E731
    write(folder, "images/{split}/{name}.png", "masks/{split}/{name}.png", four_classes, encode)
    text(folder, "classes.txt", lines(*CLASSES))
    return truth(four_classes)


@raw_folder
def colours_without_table(folder):
    """images, masks; RGB without a table: the colours are the names."""
    write(folder, "images/{split}/{name}.png", "masks/{split}/{name}.png", encode=colours())
    return truth(renumbered(0, 3, 1, 2), ("background", *sorted(f"#{bytes(colour).hex()}" for colour in COLOURS[1:])))


@raw_folder
def jpeg_masks(folder):
    """images, masks; JPEG files of colours by a table."""
    write(folder, "images/{split}/{name}.jpg", "masks/{split}/{name}.jpg", encode=colours())
    text(folder, "class_dict.csv", lines("name,r,g,b", *table()))
    return truth(without_void)


@raw_folder
def blurred_jpeg_masks(folder):
    """images, masks, no split; JPEG files of low quality, whose black areas hold 1 and whose white ones 254."""
    write(folder, "images/{name}.png", "masks/{name}.png", only_car, grey({0: 1, 1: 254}), splits=ALL)
    for file in sorted((folder / "masks").iterdir()):
        with Image.open(file) as image:
            image.save(file.with_suffix(".jpg"), quality=40)
        file.unlink()
    return truth(only_car, TWO_CLASSES, ALL)


@raw_folder
def semantic_drone(folder):
    """Semantic Drone Dataset: original_images, label_images_semantic; ids, named by class_dict_seg.csv with colours."""
    write(folder, "original_images/{name}.jpg", "label_images_semantic/{name}.png", splits=ALL)
    text(folder, "class_dict_seg.csv", lines("name, r, g, b", *table()))
    return truth(without_void, splits=ALL)


@raw_folder
def soft_outlines(folder):
    """images, masks, no split; anti-aliased masks of 0 and 255."""
    write(folder, "images/{name}.png", "masks/{name}.png", only_car, soft, splits=ALL)
    return truth(only_car, TWO_CLASSES, ALL)


@raw_folder
def arrays(folder):
    """images, masks; .npy files of ids, -1 void."""
    encode = grey({VOID: -1}, np.int64)
    write(folder, "images/{split}/{name}.png", "masks/{split}/{name}.npy", four_classes, encode)
    text(folder, "classes.txt", lines(*CLASSES))
    return truth(four_classes)


@raw_folder
def wide_tiff(folder):
    """images, masks; 16-bit TIFF of ids above 255 by a table of ids."""
    encode = grey({ROAD: 1000, CAR: 2000, TREE: 3000}, np.uint16)
    write(folder, "images/{split}/{name}.png", "masks/{split}/{name}.tif", encode=encode)
    rows = [f"{value},{name}" for value, name in zip((0, 1000, 2000, 3000), CLASSES, strict=True)]
    text(folder, "classes.csv", lines("value,name", *rows))
    return truth(without_void)


@raw_folder
def webp(folder):
    """images, masks; lossless WebP of colours by classes.txt with colours."""
    write(folder, "images/{split}/{name}.webp", "masks/{split}/{name}.webp", encode=colours())
    text(folder, "classes.txt", lines(*(f"{n} #{bytes(c).hex()}" for n, c in zip(CLASSES, COLOURS, strict=True))))
    return truth(without_void)


@raw_folder
def white_background(folder):
    """images, masks, no split; the object is black, as a dataset.yaml says."""
    write(folder, "images/{name}.png", "masks/{name}.png", only_car, grey({0: 255, 1: 0}), splits=ALL)
    text(folder, "dataset.yaml", lines("names: [background, car]", "values: {255: background, 0: car}"))
    return truth(only_car, ("background", "car"), ALL)


@raw_folder
def two_values_with_names(folder):
    """images, masks, 0 and 255 with classes.txt of two names."""
    write(folder, "images/{split}/{name}.png", "masks/{split}/{name}.png", only_car, grey({1: 255}))
    text(folder, "classes.txt", lines("background", "car"))
    return truth(only_car, ("background", "car"))


@raw_folder
def twelve_of_sixteen_bits(folder):
    """16-bit TIFF images that use 12 bits; 0 and 1, no split, no names."""
    for index in range(12):
        image = picture(index)[0].mean(-1).astype(np.uint16) * 16
        save(folder / f"images/{index:03}.tif", image)
        save(folder / f"masks/{index:03}.png", only_car(index))
    return truth(only_car, TWO_CLASSES, ALL)
