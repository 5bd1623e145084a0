"""The model's name in `config.pbtxt`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claraedge.errors import InvalidModelError
from claraedge.models.config import read_config


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('name: "lung"', "lung"),
        ("name : 'lung'\nplatform: \"onnx\"", "lung"),
        ('\ufeffname:"lung"', "lung"),
        ('# name: "no"\nmax_batch_size: 8\nname: "lung" # the name', "lung"),
        ('input [ { name: "INPUT" dims: [ 1, -1 ] } ]\nname: "lung"', "lung"),
        ('input { name: "INPUT" }\noutput < name: "OUT" >;name: "lung";', "lung"),
        ('parameters: { key: "name" value: { string_value: "no" } }, name: "lung"', "lung"),
        ('backend: "name" name: "lung"', "lung"),
        ('kind: name\nname: "lung"', "lung"),
        ('default_model_filename: "a: {" name: "lung"', "lung"),
        ('name: "lu" "ng"', "lung"),
        (r'name: "l\x75\156g\"\\\'"', "lung\"\\'"),
        (r'name: "L\303\244rm"', "Lärm"),
        ("", None),
        ('platform: "onnx"', None),
        ('name: ""', None),
        ('input { name: "INPUT" }', None),
    ],
)
def test_the_name_at_the_top_level_is_found(text: str, name: str | None) -> None:
    assert read_config(text.encode()).name == name


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'name: "a"\nname: "b"', "2 fields `name`"),
        (b"input {", "not closed"),
        (b'\n{"name": "a"}', "JSON"),
        (b"a: 1\n}", "line 2: '}' closes nothing"),
        (b'name: "lung', "line 1"),
        (b'\n\nname: "lu\nng"', "line 3"),
        (b"\xff\xfen\0", "UTF-16"),
        (b"name: 'l\xe4rm'", "not UTF-8"),
        (rb'name: "\377"', "not UTF-8"),
        (b"<?xml?>", "no protobuf text"),
    ],
)
def test_what_is_no_configuration_is_reported(content: bytes, text: str) -> None:
    with pytest.raises(InvalidModelError, match=text):
        read_config(content)


@given(st.text(alphabet="name: \"'\\{}[]<>#x7\n,;") | st.binary())
def test_no_content_raises_anything_else(content: str | bytes) -> None:
    try:
        read_config(content.encode() if isinstance(content, str) else content)
    except InvalidModelError as error:
        assert all(error.messages)  # noqa: PT017


def test_a_megabyte_of_brackets_is_no_trouble() -> None:
    with pytest.raises(InvalidModelError, match="not closed"):
        read_config(b"a {" * 2**18)
