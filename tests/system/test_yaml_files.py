"""YAML is read as by PyYAML, without the parts that settings do not need."""

import time
from itertools import pairwise

import pytest
import yaml

from keras_crosscoop.system import yaml_files


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: 1\nb: [1.5, true, null, text, 'yes']\nc: {d: {e: 0x1f}}\n",
        "a: 1_000\nb: 1e-3\nc: 1.0e-3\nd: -.inf\ne: 012\nf: 1:30\n",
        "a: &one {name: mobilenet, alpha: 0.5}\nb: *one\n",
        "a: |\n  two\n  lines\n",
        "{1: 2, x: y}",
        "- 1\n- - 2\n",
    ],
)
def test_plain_yaml_is_read_as_by_pyyaml(text):
    assert yaml_files.load(text) == yaml.safe_load(text)


@pytest.mark.parametrize(("text", "value"), [("2024-02-30", "2024-02-30"), ("=", "="), ("<<", "<<")])
def test_dates_and_special_keys_are_text(text, value):
    assert yaml_files.load(text) == value


@pytest.mark.parametrize("name", ["Bäume", "木", "\U0001f333", b"\xff.png".decode(errors="surrogateescape")])
def test_every_name_of_a_file_survives(name):
    assert yaml_files.load(yaml.safe_dump({"dir": name})) == {"dir": name}


def grown(value, join):
    """Returns a text whose aliases stand for 9 times as many values in each line."""
    lines = [f"a: &a {value}"]
    return "\n".join([*lines, *(f"{c}: &{c} {join(','.join([f'*{b}'] * 9))}" for b, c in pairwise("abcdefghi"))])


BAD = {
    "a section twice": ("a: 1\nb: 2\na: 3\n", 'line 3, column 1: "a" is given twice'),
    "a key twice below": ("x:\n  a: 1\n  a: 1\n", 'line 3, column 3: "a" is given twice'),
    "a key twice in a line": ("{a: 1, 'a': 2}", '"a" is given twice'),
    "digits": ("a: " + "1" * 5000, "ValueError: Exceeds the limit"),
    "sixties": ("1" + ":10" * 21_000, "a number has more than 4,096 bits"),
    "no digits": ("a: 0x_", "ValueError: invalid literal for int"),
    "brackets": ("[" * 60_000, "RecursionError"),
    "question marks": ("? " * 30_000, "RecursionError"),
    "aliases": (grown("[x,x,x]", "[{}]".format), "there are more than 10,000 values"),
    "merged aliases": (grown("{k: v}", "{{<<: [{}]}}".format), "there are more than 10,000 values"),
    "itself": ("a: &a [1, *a]", "there are more than 10,000 values"),
    "itself many times": ("&a [" + "*a, " * 16_000 + "]", "there are more than 10,000 values"),
    "itself as a key": ("&a {*a : 1}", "found unhashable key"),
    "many values": ("[" + "1," * 30_000 + "]", "there are more than 10,000 values"),
    "a long file": ("a: b\n" * 100_000, "it is longer than 65,536 characters"),
    "a list for a key": ("? [a]\n: b", "line 1, column 3: found unhashable key"),
    "a tag": ("a: !!python/name:os.system", "line 1, column 4: could not determine a constructor for the tag"),
    "a harmless tag": ("a: !!binary eA==", "values of type bytes are not allowed"),
    "a tag that PyYAML fails at": ("a: !!int ''", "IndexError"),
    "a local tag": ("!x", "could not determine a constructor"),
    "NUL": ("a: \0", "unacceptable character"),
    "half a character": ("a: \ud800", "unacceptable character"),
    "NUL, escaped": (r'a: "b\0"', "a text holds a character that no path can hold"),
    "half a character, escaped": (r'a: "\ud800"', "surrogates not allowed"),
    "NUL, escaped, in a key": (r'"\0": b', "a text holds a character that no path can hold"),
    "two documents": ("a: 1\n---\nb: 2\n", "another document"),
    "an open bracket": ("a: [1,\n  2", "line 2, column 4: expected ',' or ']'"),
    "an open quote": ("'" + "x" * 60_000, "unexpected end of stream"),
    "an anchor that is none": ("*a", "undefined alias"),
}


@pytest.mark.parametrize(("text", "reason"), BAD.values(), ids=BAD)
def test_other_yaml_is_refused_quickly_and_in_one_line(text, reason):
    start = time.process_time()
    with pytest.raises(ValueError, match=r"^[^\n]{1,300}$") as error:
        yaml_files.load(text)
    assert reason in str(error.value)
    assert time.process_time() - start < 5


def test_a_huge_file_is_not_read_completely(tmp_path):
    with (file := tmp_path / "large.yaml").open("wb") as sparse:
        sparse.truncate(2**36)
    with pytest.raises(ValueError, match="it is longer than"):
        yaml_files.read(file)
