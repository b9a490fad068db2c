"""How somebody's own images are read: the range of their values, their channels and their orientation."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from keras_crosscoop import dataset
from keras_crosscoop.data.checks import check_dataset
from keras_crosscoop.data.own.description import Description
from keras_crosscoop.data.own.image_content import Values, find_image_reading, find_range, plain_range
from keras_crosscoop.images.io import read_image
from keras_crosscoop.images.reading import ImageReading

RNG = np.random.default_rng(0)
SIZE = (24, 32)


def turned(pixels, path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


def bands(number, seed=0):
    return np.random.default_rng(seed).integers(1, 200, (*SIZE, number), np.uint8)


@pytest.fixture
def make(tmp_path):
    """Writes images with a function of array and path, and masks of `mask_size`; returns the pairs of "train"."""

    def write_all(arrays, write=tifffile.imwrite, suffix="tif", mask_size=SIZE, **options):
        pairs = []
        for number, array in enumerate(arrays, len([*tmp_path.glob("*_mask.png")])):
            image, mask = tmp_path / f"{number}.{suffix}", tmp_path / f"{number}_mask.png"
            write(path=image, array=array, **options) if write is not tifffile.imwrite else write(
                image, array, **options
            )
            Image.fromarray(np.zeros(mask_size, np.uint8)).save(mask)
            pairs.append((image, mask))
        return pairs

    return write_all


def save_turned(path, array, orientation):
    turned(array, path, orientation)


def severities(found):
    return [finding.severity for finding in found.findings]


def test_8_bit_images_need_nothing(make):
    pairs = make([bands(3), bands(3)], lambda path, array: Image.fromarray(array).save(path), "png")
    found = find_image_reading({"train": pairs}, Description())
    assert found[:3] == (None, None, None)
    assert found.statements == ["All images have 32x24 pixels and 3 channels of 8 bits."]
    assert found.findings == []


def test_12_of_16_bits_are_scaled_alike_in_all_images(make):
    """A dark and a bright image keep their difference, and one hot pixel changes nothing."""
    dark, bright = np.full(SIZE, 400, np.uint16), np.full(SIZE, 3600, np.uint16)
    dark[0, 0] = 65535
    many = [np.full(SIZE, 2000, np.uint16)] * 2
    pairs = make([dark, bright, *many])
    found = find_image_reading({"train": pairs, "val": pairs[:1]}, Description())
    assert found.range == (0, 4095)
    assert found.statements[1] == (
        "Values from 0 to 4095 become 0 to 255: 99.8 % of the values in 4 training images are 400 to 3600. `range` in "
        "dataset.yaml changes it."
    )
    reading = ImageReading(range=found.range)
    assert [read_image(pair[0], reading=reading)[1, 1, 0] for pair in pairs[:2]] == [25, 224]


def test_the_validation_split_does_not_set_the_range(make):
    train, val = make([np.full(SIZE, 900, np.uint16)]), make([np.full(SIZE, 60000, np.uint16)])
    train += make([np.full(SIZE, 100, np.uint16)])
    assert find_image_reading({"train": train, "val": val}, Description()).range == (0, 1023)


def test_a_range_that_is_given_stays(make):
    found = find_image_reading({"train": make([np.full(SIZE, 900.0, np.float32)])}, Description(range=(-1000, 3000)))
    assert found.range == (-1000, 3000)
    assert found.statements[1] == "Values from -1000 to 3000 become 0 to 255, as dataset.yaml says."


def test_missing_values_are_left_out(make):
    values = np.linspace(0, 1, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE[::-1]).T.copy()
    values[:6], values[6:12], values[12:18] = np.nan, -9999, -3e38
    values[0, 0] = -7
    found = find_image_reading({"train": make([values], extratags=[(42113, "s", 3, "-7", True)])}, Description())
    assert found.range == (0, 1)
    assert severities(found) == ["note"]
    assert found.findings[0].message.startswith("75.00% of the sampled image values are missing")


def test_images_of_one_value_are_a_problem(make):
    found = find_image_reading({"train": make([np.full(SIZE, 7, np.uint16)] * 2)}, Description())
    assert severities(found) == ["problem"]


def test_8_and_16_bits_together_are_told(make):
    pairs = make([np.full(SIZE, 9, np.uint8), *(np.full(SIZE, value, np.uint16) for value in (0, 4000))])
    found = find_image_reading({"train": pairs}, Description())
    assert found.range == (0, 4095)
    assert severities(found) == ["warning"]
    assert found.findings[0].message.startswith("2 images have more than 8 bits, and 1 have 8 bits.")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 65535], (0, 65535)),
        ([960, 2144], (0, 4095)),
        ([3, 250], (0, 255)),
        ([0, 6980], (0, 7000)),
        ([3012, 3498], (3010, 3500)),
        ([-812, 2950], (-900, 3000)),
        ([0.24, 0.53], (0, 1)),
        ([-0.9, 0.8], (-1, 1)),
        ([0.02, 0.313], (0, 0.32)),
        ([0.5, 200.5], (0, 255)),
        ([-3.25e-4, 9.1e-4], (-4e-4, 1e-3)),
    ],
)
def test_ranges_are_plain_numbers_that_hold_all_values(values, expected):
    found = find_range([Values(np.array(values * 50, float), 0.0)]).range
    np.testing.assert_allclose(found, expected)
    assert found[0] <= min(values)
    assert found[1] >= max(values)


def test_one_value_has_a_range():
    low, high = plain_range(5, 5, whole=True)
    assert low < high


def test_a_fourth_band_is_left_out_and_told(make):
    pairs = make([bands(4), bands(4, 1)], photometric="rgb", extrasamples=["unassalpha"])
    found = find_image_reading({"train": pairs}, Description())
    assert found.channels == (1, 2, 3)
    assert found.statements[1] == (
        "2 images have 4 channels. The first three are taken as red, green and blue, and channel 4 is left out; "
        "`channels` in dataset.yaml chooses others, such as `channels: [4, 2, 1]`. The file calls its last channel "
        "transparency, but its values do not look like it."
    )


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_transparency_stays(make, suffix):
    cut = bands(4)
    cut[..., 3] = np.where(bands(1)[..., 0] > 100, 255, 0)
    if suffix == "tif":
        pairs = make([cut], photometric="rgb", extrasamples=["unassalpha"])
    else:
        pairs = make([cut], lambda path, array: Image.fromarray(array).save(path), suffix)
    found = find_image_reading({"train": pairs}, Description())
    assert found.channels is None
    assert found.statements[1] == (
        "Transparent pixels of 1 image become white, unless dataset.yaml names the `channels`."
    )


def test_many_bands_are_a_warning_and_can_be_chosen(make):
    pairs = make([bands(13)] * 2, photometric="minisblack", planarconfig="contig")
    found = find_image_reading({"train": pairs}, Description())
    assert found.channels == (1, 2, 3)
    assert severities(found) == ["warning"]
    assert "channels 4 to 13 are left out" in found.findings[0].message
    found = find_image_reading({"train": pairs}, Description(channels=(4, 3, 2)))
    assert found.channels == (4, 3, 2)
    assert found.findings == []
    found = find_image_reading({"train": pairs}, Description(channels=(14, 3, 2)))
    assert severities(found) == ["problem"]


def test_the_range_is_that_of_the_chosen_channels(make):
    deep = bands(5).astype(np.uint16)
    deep[..., 4] = 60000
    pairs = make([deep], photometric="minisblack", planarconfig="contig")
    assert find_image_reading({"train": pairs}, Description()).range == (0, 255)


def test_two_channels_are_a_problem(make):
    pairs = make([bands(2)] * 3, photometric="minisblack", planarconfig="contig")
    found = find_image_reading({"train": pairs}, Description())
    assert severities(found) == ["problem"]
    assert found.findings[0].message.startswith("3 images have 2 channels, and it is unknown which are red")
    assert find_image_reading({"train": pairs}, Description(channels=(1, 2, 2))).findings == []


def test_stacks_are_one_problem_with_a_remedy(make):
    pairs = make([np.zeros((6, *SIZE), np.uint8)] * 2, photometric="minisblack")
    found = find_image_reading({"train": pairs}, Description())
    assert severities(found) == ["problem"]
    assert found.findings[0].message.startswith(
        "2 images cannot be used. The image is a stack of 6 slices (6 x 24 x 32). Choose one with "
    )
    assert found.findings[0].files == tuple(str(image) for image, _ in pairs)
    assert find_image_reading({"train": pairs}, Description(slice=3)).findings == []


def test_the_check_tells_stacks_once(make, tmp_path):
    make([np.full((6, *SIZE), 9 * number, np.uint8) for number in range(8)], photometric="minisblack")
    problems = [problem.message for problem in check_dataset(dataset(tmp_path)).problems]
    assert sum("stack of 6 slices" in problem for problem in problems) == 1
    assert any(problem.startswith("8 images cannot be used.") for problem in problems)


def test_damaged_images_are_left_to_the_checks(make):
    pairs = make([np.arange(SIZE[0] * SIZE[1], dtype=np.uint16).reshape(SIZE)] * 2)
    pairs[0][0].write_bytes(b"II*")
    found = find_image_reading({"train": pairs}, Description())
    assert (found.range, found.findings) == ((0, 1023), [])
    pairs[1][0].write_bytes(pairs[1][0].read_bytes()[:-100])  # the header is fine
    assert find_image_reading({"train": pairs}, Description()).range is None


def test_masks_of_the_stored_size_settle_the_orientation(make):
    square = np.zeros((24, 24, 3), np.uint8)
    pairs = make([bands(3)] * 2, save_turned, "jpg", orientation=6)
    pairs += make([square], save_turned, "jpg", mask_size=(24, 24), orientation=6)
    found = find_image_reading({"train": pairs}, Description())
    assert found.orientation == "stored"
    assert severities(found) == ["note"]
    assert found.findings[0].message.startswith(
        "EXIF metadata turn 2 images, but the masks have the sizes of the images"
    )


def test_masks_of_the_turned_size_need_nothing(make):
    pairs = make([bands(3)], save_turned, "jpg", mask_size=SIZE[::-1], orientation=6)
    found = find_image_reading({"train": pairs}, Description())
    assert (found.orientation, found.findings) == (None, [])


@pytest.mark.parametrize("orientation", ["exif", "stored"])
def test_half_turns_are_told_and_can_be_settled(make, orientation):
    pairs = make([bands(3)], save_turned, "jpg", orientation=3)
    found = find_image_reading({"train": pairs}, Description())
    assert (found.orientation, severities(found)) == (None, ["warning"])
    assert "`orientation: exif` or `orientation: stored`" in found.findings[0].message
    found = find_image_reading({"train": pairs}, Description(orientation=orientation))
    assert (found.orientation, found.findings) == (orientation, [])


def test_masks_of_both_sizes_are_told(make):
    pairs = make([bands(3)], save_turned, "jpg", mask_size=SIZE[::-1], orientation=6)
    pairs += make([bands(3)], save_turned, "jpg", orientation=6)
    found = find_image_reading({"train": pairs}, Description())
    assert (found.orientation, severities(found)) == (None, ["warning"])
