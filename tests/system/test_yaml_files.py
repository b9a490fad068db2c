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
        "a: &one {name: mobilenet, alpha: 0.5}\nb: *one\nc: {<<: *one, alpha: 1}\n",
        "a: |\n  two\n  lines\n",
        "{1: 2, x: y}",
        "- 1\n- - 2\n",
    ],
)
def test_plain_yaml_is_read_as_by_pyyaml(text):
    assert yaml_files.load(text) == yaml.safe_load(text)


@pytest.mark.parametrize(("text", "value"), [("2024-02-30", "2024-02-30"), ("=", "="), ("a=b", "a=b")])
def test_dates_and_equals_signs_are_text(text, value):
    assert yaml_files.load(text) == value


@pytest.mark.parametrize("name", ["Bäume", "木", "\U0001f333", b"\xff.png".decode(errors="surrogateescape")])
def test_every_name_of_a_file_survives(name):
    assert yaml_files.load(yaml.safe_dump({"dir": name})) == {"dir": name}


def grown(value, join):
    """Returns a text whose aliases stand for 9 times as many values in each line."""
    lines = [f"a: &a {value}"]
    return "\n".join([*lines, *(f"{c}: &{c} {join(','.join([f'*{b}'] * 9))}" for b, c in pairwise("abcdefghi"))])


BAD = {
    "a section twice": ("a: 1\nb: 2\na: 3\n", '"a" is given twice, in lines 1 and 3'),
    "a key twice below": ("x:\n  a: 1\n  a: 1\n", '"a" is given twice, in lines 2 and 3'),
    "a key twice in a line": ("{a: 1, 'a': 2}", '"a" is given twice, in line 1'),
    "two merges": ("a: &a {b: 1}\nc: {<<: *a, <<: *a}", '"<<" is given twice'),
    "digits": ("a: " + "1" * 5000, "line 1, column 4: a number is longer than 400 characters"),
    "hexadecimal digits": ("0x" + "f" * 4000, "a number is longer than 400 characters"),
    "sixties": ("1" + ":10" * 1300, "a number is longer than 400 characters"),
    "no digits": ("a: 0x_", "line 1, column 4: 0x_ is not a valid number"),
    "brackets": ("[" * 100_000, "values are nested more than 20 deep"),
    "braces": ("{a: " * 50_000, "values are nested more than 20 deep"),
    "dashes": ("- " * 100_000, "values are nested more than 20 deep"),
    "question marks": ("? " * 100_000, "values are nested more than 20 deep"),
    "aliases": (grown("[x,x,x]", "[{}]".format), "there are more than 10,000 values"),
    "merged aliases": (grown("{k: v}", "{{<<: [{}]}}".format), "there are more than 10,000 values"),
    "itself": ("a: &a [1, *a]", "*a is inside the value that it stands for"),
    "itself as a key": ("&a {*a : 1}", "*a is inside the value that it stands for"),
    "many values": ("[" + "1," * 100_000 + "]", "there are more than 10,000 values"),
    "a long text": ("x" * 200_000, "a text is longer than 4,096 characters"),
    "a long file": ("a: b\n" * 100_000, "it is longer than 262,144 characters"),
    "a list for a key": ("? [a]\n: b", "line 1, column 3: a key must be a name"),
    "a tag": ("a: !!python/name:os.system", "line 1, column 4: tags such as !!python/name:os.system are not allowed"),
    "a harmless tag": ("a: !!binary x", "tags such as !!binary are not allowed"),
    "a tag that PyYAML fails at": ("a: !!int ''", "tags such as !!int are not allowed"),
    "a local tag": ("!", "tags such as ! are not allowed"),
    "NUL": ("a: \0", "unacceptable character"),
    "half a character": ("a: \ud800", "unacceptable character"),
    "NUL, escaped": (r'a: "b\0"', "line 1, column 4: a text holds a character that no path can hold"),
    "half a character, escaped": (r'a: "\ud800"', "line 1, column 4: a text holds a character that no path can hold"),
    "NUL, escaped, in a key": (r'"\0": b', "line 1, column 1: a text holds a character that no path can hold"),
    "two documents": ("a: 1\n---\nb: 2\n", "another document"),
    "an open bracket": ("a: [1,\n  2", "line 2, column 4: expected ',' or ']'"),
    "an open quote": ("'" + "x" * 200_000, "unexpected end of stream"),
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
