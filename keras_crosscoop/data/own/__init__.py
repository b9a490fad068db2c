"""Your own images: finds out how a folder is laid out and how its masks are coded, and describes it in YAML.

`discovery.describe` goes the whole way. An entry that `dataset.yaml` settles is taken from there; the rest is found:

1. Files: `file_index` lists the folder; `vocabulary` knows the usual words in names, such as "masks" and "void".
2. Layout (`layout`): which files are images, which are their masks, and which splits there are.
   `lists` reads lists of files. Without lists, `matching` finds what the paths of images and masks have in common,
   `choice` takes the best match or asks, and `path_templates` writes it as templates such as `masks/{name}_mask.png`.
   `pairs` lists the images and masks of a described split.
3. Splits (`splitting`): without a validation split, a share of the training images, near-equal ones kept together.
4. Content: `mask_content` counts the values and colours of masks; `image_content` finds how images are read: the range
   of their values, their channels and their orientation.
5. Coding (`coding_discovery`): which value or colour is which class.
   `class_tables` finds tables of names and colours, and `text_tables` reads them. `value_reading` and `colour_reading`
   find the one `reading` that explains the masks; if several do, the error asks with the lines of YAML that settle it.
6. Description (`description`): the complete `dataset.yaml`. `discovery.open_own` opens it as a `Dataset`, and
   `discovery.store` writes it into a run, with lists of all files.
"""
