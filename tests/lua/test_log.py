"""ws.log and print: one line an event, with nothing in it that could pass for another."""

import re

import pytest


@pytest.fixture
def logged(host):
    """The lines that the host logs while a request runs."""
    began = host.mark()
    host.get("/logs", line="unicode")
    host.log_line("é", began)  # what it said before has been read

    def run(line):
        mark = host.mark()
        answer = host.get("/logs", line=line)
        assert answer.text == "logged", answer
        host.get("/logs", line="unicode")
        host.log_line("é", mark)
        lines = host.log[mark:]
        return lines[: next(n for n, text in enumerate(lines) if "é" in text)]

    return run


def test_levels(logged):
    lines = logged("levels")
    assert [re.search(r'level=(\w+) msg="at (\w+)"', line).groups() for line in lines] == [
        ("info", "info"),
        ("warn", "warn"),
        ("error", "error"),
    ]
    assert all("script=logs generation=1" in line for line in lines)


def test_fields(logged):
    (line,) = logged("fields")
    assert 'msg="with fields"' in line
    assert " n=1" in line and ' text="two words"' in line and " on=true" in line


def test_no_text_can_forge_a_line_or_a_field(logged):
    (line,) = logged("forged")
    assert 'msg="one\\nlevel=error msg=two"' in line
    assert 'k="a\\nb\\x1B[31m\\x00\\xFF\\"\\\\"' in line
    (line,) = logged("forged_key")
    assert re.search(r" a\w+=1$", line)


def test_print_is_info_with_tabs_between(logged):
    (line,) = logged("printed")
    assert 'level=info msg="a\\t1\\tnil\\ttrue\\tT"' in line
    assert "script=logs" in line
    (line,) = logged("print_nothing")
    assert 'msg=""' in line
    (line,) = logged("print_lines")
    assert 'msg="first\\nsecond"' in line


def test_values_of_any_kind_as_fields(logged):
    (line,) = logged("conn_field")
    assert "level=warn" in line and "who=null" in line and "all=ws.all" in line


def test_unicode_is_readable_and_separators_are_not(host):
    mark = host.mark()
    host.get("/logs", line="unicode")
    line = host.log_line("é", mark)
    assert "é 漢 🎈" in line
    assert "\u2028" not in line and "\u0085" not in line


def test_misuse_raises(logged):
    logged("misuse")
