from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from claraedge.web.console.results.excerpts import (
    Excerpt,
    excerpt_of,
    fitted,
    indented,
    width_of,
)
from claraedge.web.console.results.log_text import LINE, shown_line
from claraedge.web.console.results.tables import table_of


def shown(data: bytes, *, whole: bool = True) -> Excerpt:
    found = excerpt_of(data, whole=whole)
    assert found is not None
    return found


def test_each_encoding_is_recognised() -> None:
    text = "Größe: 3 µm\n"
    assert shown(text.encode()) == Excerpt(text, "utf-8", whole=True)
    assert shown(text.encode("utf-8-sig")) == Excerpt(text, "utf-8", whole=True)
    for encoding, mark in (("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")):
        assert shown(mark + text.encode(encoding)) == Excerpt(text, encoding, whole=True)
    assert shown(text.encode("cp1252")) == Excerpt(text, "windows-1252", whole=True)


def test_a_character_that_the_end_of_the_excerpt_cuts_is_left_out() -> None:
    assert shown("aß".encode()[:-1], whole=False) == Excerpt("a", "utf-8", whole=False)
    assert shown("aß".encode()[:-1], whole=True).encoding == "windows-1252"


def test_bytes_that_are_no_text_have_no_excerpt() -> None:
    assert excerpt_of(bytes(range(256)), whole=True) is None
    assert excerpt_of(b"text\x00text", whole=True) is None
    assert excerpt_of("text".encode("utf-16-le"), whole=True) is None
    assert excerpt_of(b"\x01\x02\x03\x04abcdef", whole=True) is None


def test_the_colours_of_a_terminal_do_not_make_a_text_binary() -> None:
    assert excerpt_of(b"\x1b[31mred\x1b[0m\n" * 100, whole=True) is not None


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=400), st.integers(0, 300))
def test_what_fits_has_no_more_bytes_than_the_page_has_for_it(text: str, most: int) -> None:
    found = fitted(Excerpt(text, "utf-8", whole=True), most)
    assert len(str(escape(found.text)).encode()) <= most
    assert width_of(found.text) == len(str(escape(found.text)).encode())
    assert found.whole is (len(found.text) == len(text.replace("\r\n", "\n")))


def test_the_most_that_fits_is_shown() -> None:
    found = fitted(Excerpt('"' * 1000, "utf-8", whole=True), 104)
    assert found == Excerpt('"' * 20, "utf-8", whole=False)


def test_characters_that_html_cannot_have_are_replaced() -> None:
    assert fitted(Excerpt("a\x00b\x1bc\td\r\ne", "", whole=True)).text == "a�b�c\td\ne"


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
)


@given(json_values)
def test_json_with_a_line_for_each_value_means_the_same(value: object) -> None:
    compact = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    assert json.loads(indented(compact)) == json.loads(compact)


def test_json_keeps_its_numbers_and_order() -> None:
    text = '{"b":1.10,"a":[1e400,{"x":"a\\"{b"}],"e":{},"b":12345678901234567890}'
    lines = indented(text).split("\n")
    assert lines == [
        "{",
        '  "b": 1.10,',
        '  "a": [',
        "    1e400,",
        "    {",
        '      "x": "a\\"{b"',
        "    }",
        "  ],",
        '  "e": {},',
        '  "b": 12345678901234567890',
        "}",
    ]


def test_json_of_many_levels_stays_small() -> None:
    assert len(indented("[" * 10_000)) < 10_000 * 42
    assert indented("]" * 100)


def test_a_table_is_read_with_its_separator() -> None:
    for separator in ",;\t|":
        text = separator.join(("name", "size")) + "\n" + separator.join(("a", "1")) + "\n"
        found = table_of(shown(text.encode()))
        assert found is not None
        assert found.separator == separator
        assert (found.head, found.rows) == (["name", "size"], [["a", "1"]])
        assert not found.more_rows


def test_a_comma_within_numbers_or_quotes_separates_nothing() -> None:
    found = table_of(shown(b"1,5;2,5\n3,5;4,5\n"))
    assert found is not None
    assert (found.head, found.rows) == ([], [["1,5", "2,5"], ["3,5", "4,5"]])
    found = table_of(shown(b'text,n\n"a;b;c",1\n"d;e;f",2\n'))
    assert found is not None
    assert found.rows == [["a;b;c", "1"], ["d;e;f", "2"]]


def test_a_line_that_says_the_separator_is_no_row() -> None:
    found = table_of(shown(b"sep=|\r\na,b|c,d\r\n1|2\r\n"))
    assert found is not None
    assert (found.head, found.rows) == (["a,b", "c,d"], [["1", "2"]])


def test_rows_have_the_same_length() -> None:
    found = table_of(shown(b"a,b,c\n1\n\n1,2,3\n"))
    assert found is not None
    assert found.rows == [["1", "", ""], ["1", "2", "3"]]


def test_a_row_that_the_end_of_the_excerpt_cuts_is_left_out() -> None:
    found = table_of(shown(b"a,b\n1,2\n3,4", whole=False))
    assert found is not None
    assert (found.rows, found.more_rows) == ([["1", "2"]], True)


def test_a_table_has_no_more_than_fits_on_a_page() -> None:
    found = table_of(shown(b"1,2\n" * 30_000))
    assert found is not None
    assert (len(found.rows), found.more_rows) == (1000, True)
    found = table_of(shown(b",".join(b"%d" % n for n in range(500)) + b"\n"))
    assert found is not None
    assert (len(found.rows[0]), found.more_columns) == (60, True)
    found = table_of(shown(b'a,"' + b"<" * 5000 + b'"\n' + b"<<<<<<<,<\n" * 20_000))
    assert found is not None
    cells = [cell for row in (found.head, *found.rows) for cell in row]
    assert sum(len(str(escape(cell))) + 9 for cell in cells) < 120_000
    assert max(map(len, cells)) == 301


def test_a_quote_that_never_ends_hides_no_rows() -> None:
    found = table_of(shown(b'size,n\n"5 inch,1\n' + b"x,2\n" * 200))
    assert found is not None
    assert len(found.rows) == 201
    assert found.rows[0] == ['"5 inch', "1"]


def test_texts_for_which_pythons_sniffer_needs_minutes_are_read() -> None:
    hostile = '"",' * 4000 + '"' * 4000 + "0" + '"' * 4000 + "0"
    for text in (hostile, '"one"\n' * 10_000, ',"x' * 20_000, "\n" * 50_000):
        table_of(Excerpt(text, "utf-8", whole=True))


def test_one_value_is_no_table() -> None:
    assert table_of(shown(b"just a sentence")) is None
    assert table_of(Excerpt("", "utf-8", whole=True)) is None


def test_a_line_of_a_log_has_no_codes_of_terminals() -> None:
    assert shown_line("\x1b[1;31mred\x1b[0m plain\n") == "red plain"
    assert shown_line("\x1b]0;title\x07text") == "text"
    assert shown_line("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\") == "link"
    assert shown_line("\x9b31mred") == "red"
    assert shown_line("tab\there\r\n") == "tab\there"


def test_a_code_without_its_end_hides_nothing() -> None:
    assert shown_line("\x1b]0;no end of a title") == "]0;no end of a title"
    assert shown_line("\x1bPno end") == "Pno end"


def test_the_last_state_of_a_bar_of_progress_stays() -> None:
    assert shown_line("10 %\r50 %\r100 %\n") == "100 %"


def test_a_long_line_is_cut() -> None:
    assert shown_line("x" * 100_000) == "x" * LINE + "…"
    assert shown_line("x" * LINE) == "x" * LINE
