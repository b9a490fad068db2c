"""Published mean IoU in %. Tables show these values beside measured ones, never instead of them.

Reference: Ikedo and Hotta, VISAPP 2022, tables 1 to 5. Networks: Xception-65 (top) and ResNet-101 (bottom).
"""

BACKBONES = ("xception65", "resnet101")  # the paper's top and bottom

# For the validation split of each data set, by row and output. The conventional method has two equal networks, as in
# the paper that introduced it.
PUBLISHED = {
    "voc2012": {
        ("single_top", "single"): 80.1,
        ("single_bottom", "single"): 79.7,
        ("one_way_equal", "top"): 77.6,
        ("one_way_equal", "bottom"): 80.1,
        ("none", "top"): 80.3,
        ("none", "bottom"): 79.4,
        ("ensemble_singles", "ensemble"): 80.5,
        ("cross_without_c1_c2", "top"): 80.36,
        ("cross_without_c2", "top"): 80.52,
        ("cross", "top"): 81.5,
        ("cross", "bottom"): 81.3,
    },
    "cityscapes": {
        ("single_top", "single"): 76.2,
        ("single_bottom", "single"): 75.1,
        ("cross", "top"): 78.2,
    },
}

# Tables 2 and 4: other methods.
REFERENCES = {
    "voc2012": {
        "DeepLabV3": 76.5,
        "WASPnet-CRF": 80.4,
        "DFN": 80.6,
        "HyperSeg-L": 80.6,
        "ResNet-GCN": 81.0,
    },
    "cityscapes": {
        "WASPNet": 74.0,
        "GSCNN": 74.7,
        "U-Net++": 75.5,
        "Dilated-ResNet": 75.7,
        "Multiscale DEQ": 77.8,
    },
}
