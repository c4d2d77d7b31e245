"""The manual page and the completions know each command and each option that --help names."""

import re
import shutil
import subprocess

import pytest

from conftest import program
from support.host import ROOT

PAGE = ROOT / "packaging/perigee.1"
BASH = ROOT / "packaging/completion/perigee"
ZSH = ROOT / "packaging/completion/_perigee"


def help_of(*command: str) -> str:
    return subprocess.run(
        [program(), *command, "--help"], check=True, capture_output=True, text=True
    ).stdout


def commands() -> list[str]:
    return re.findall(r"^  perigee ([a-z]+)\b", help_of(), re.MULTILINE)


def options(text: str) -> set[str]:
    """The options that a help names, in its usage or in its list."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


def sections() -> dict[str, str]:
    """What the page says of each command."""
    parts = re.split(r"^\.Ss perigee ([a-z]+).*$", PAGE.read_text(), flags=re.MULTILINE)
    return {
        name: re.split(r"^\.Sh ", text, flags=re.MULTILINE)[0]
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_there_is_something_to_compare():
    assert "serve" in commands() and "--listen" in options(help_of("serve"))


def test_the_page_has_a_section_for_each_command():
    assert set(sections()) >= set(commands())


def test_the_page_lists_each_option_of_a_command_and_no_other():
    for command in commands():
        listed = re.findall(r"^\.It Fl -([a-z-]+)", sections()[command], re.MULTILINE)
        assert len(listed) == len(set(listed))
        told = options(help_of(command)) | {"--help"}
        assert {f"--{name}" for name in listed} == told, command


@pytest.mark.skipif(not shutil.which("mandoc"), reason="there is no mandoc")
def test_mandoc_finds_nothing_wrong_with_the_page():
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning", PAGE], capture_output=True, text=True, check=False
    )
    wrong = [line for line in done.stdout.splitlines() if "mandoc.db" not in line]
    assert not wrong


def bash(*words: str) -> set[str]:
    """What bash offers for the last of the words."""
    script = """
      source "$1"; shift
      compopt() { :; } # only where readline has called
      COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
      _perigee "$1"
      printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", script, "bash", BASH, program(), *words],
        check=True, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_completes_commands_and_options():
    assert bash("") == {*commands(), "--help", "--version"}
    assert bash("ser") == {"serve"}
    for command in commands():
        assert bash(command, "--") == options(help_of(command)) | {"--help"}, command


def test_bash_completes_values():
    assert bash("serve", "--log-format", "") >= {"logfmt", "short", "json"}
    assert bash("serve", "--log-level", "=", "in") == {"info"}
    assert bash("serve", "--log-level", "=") == {"debug", "info", "warn", "error"}
    assert bash("serve", "--limit", "mess") == {"message_bytes="}
    assert bash("serve", "--limit", "message_bytes", "=", "1") == set()
    assert bash("serve", "--host", "") == set()
    assert bash("serve", "scr") == {"scripts"}
    assert bash("serve", "--config", "CMakeL") == {"CMakeLists.txt"}
    assert bash("dance", "") == set()


def zsh(*words: str) -> list[str]:
    """What zsh is told for the last of the words: lines for _describe, or for _arguments."""
    script = """
      _describe() { print -rl -- "${(@P)2}" }
      _arguments() { print -rl -- "$@" }
      file=$1; shift
      words=("$@"); CURRENT=$#
      source "$file"
    """
    done = subprocess.run(
        ["zsh", "-f", "-c", script, "zsh", ZSH, program(), *words],
        check=True, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.skipif(not shutil.which("zsh"), reason="there is no zsh")
def test_zsh_completes_commands_options_and_values():
    described = dict(line.split(":", 1) for line in zsh(""))
    assert set(described) == {*commands(), "--help", "--version"}
    assert described["serve"].startswith("serve a folder")
    for command in commands():
        specs = zsh(command, "--")
        offered = {re.match(r"\*?(--[a-z-]+)", spec)[1] for spec in specs if "--" in spec[:3]}
        assert offered == options(help_of(command)) | {"--help"}, command
    serve = "\n".join(zsh("serve", "--"))
    assert ":LEVEL:(debug info warn error)\n" in serve
    assert re.search(r":NAME=VALUE:compadd -S = -- .*\bmessage_bytes\b", serve)
    assert ":FILE:_files\n" in serve and serve.endswith("::folder:_files -/")


def test_both_completions_read_the_help_by_the_same_program():
    reading = [text.split("awk '")[1].split("    END {")[0] for text in
               (BASH.read_text(), ZSH.read_text())]  # fmt: skip
    assert reading[0] == reading[1]


# Helps in the ways in which commands write theirs.
HELP = """#!/bin/sh
cat <<'END'
usage: perigee any NAME [--template TEMPLATE]
                   [--wait SECONDS|forever]

Reads DIR.

  --header 'NAME: VALUE'  sent with the request
  --wait SECONDS   that long,
                   or for ever
  --format=text    with the line (default)
  --format=json    one list of --objects
  -s, --strict     no, really

templates:
  echo    the shortest
  chat    rooms
END
"""


def test_bash_reads_options_however_a_help_writes_them(tmp_path, monkeypatch):
    other = tmp_path / "perigee"
    other.write_text(HELP)
    other.chmod(0o755)
    monkeypatch.setenv("PERIGEE", str(other))
    flags = {"--template", "--wait", "--header", "--format", "--strict", "--help"}
    assert bash("any", "--") == flags
    assert bash("any", "--template", "") == {"echo", "chat"}
    assert bash("any", "--format", "=") == {"text", "json"}
    assert bash("any", "--header", "") == bash("any", "--strict", "") == bash("any", "") == set()
