"""What `cmake --install` lays down: a tree that works where it lies, wherever that is."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import Host, program
from support.host import ROOT


def install(prefix: Path, **environment: str) -> None:
    command = ["cmake", "--install", str(Path(program()).parent), "--prefix", str(prefix)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | environment)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """An installed tree that was moved afterwards."""
    folder = tmp_path_factory.mktemp("install")
    install(folder / "before")
    return (folder / "before").rename(folder / "prefix")


def libraries(executable: Path) -> dict[str, str]:
    """Where the loader finds each library of a program."""
    out = subprocess.run(["ldd", str(executable)], check=True, capture_output=True, text=True)
    lines = [line.split() for line in out.stdout.splitlines() if "=>" in line]
    return {words[0]: words[2] for words in lines}


def test_everything_has_its_place(tree):
    for name in (
        "bin/perigee",
        "share/man/man1/perigee.1",
        "share/bash-completion/completions/perigee",
        "share/zsh/site-functions/_perigee",
        "share/perigee/etc/perigee.lua",
        "share/perigee/etc/scripts/welcome.lua",
        "share/doc/perigee/README.md",
        "share/doc/perigee/LICENSE",
        "share/doc/perigee/docs/scripting.md",
        "lib/systemd/system/perigee.service",
        "lib/systemd/system/perigee.socket",
    ):
        assert (tree / name).is_file(), name
    shipped = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "scripts"], check=True, capture_output=True, text=True
    ).stdout.split()
    assert shipped
    for name in shipped:
        assert (tree / "share/perigee" / name).read_bytes() == (ROOT / name).read_bytes()


def test_fetched_libraries_come_along_and_those_of_the_system_do_not(tree):
    fetched = ROOT / "build/deps/usr/lib"
    needed = libraries(Path(program()))
    ours = {name for name, path in needed.items() if path.startswith(str(fetched))}
    found = libraries(tree / "bin/perigee")
    private = {name for name, path in found.items() if Path(path).resolve().is_relative_to(tree)}
    assert private == ours
    assert set(found) == set(needed) and "not" not in found.values()
    assert not any(path.startswith(str(ROOT)) for path in found.values())
    copied = {path.name for path in tree.glob("lib/perigee/*")}
    assert copied >= ours and not any(name.startswith(("libc.", "libuv")) for name in copied)


def test_without_a_folder_it_names_the_samples_and_those_can_be_served(tree, tmp_path):
    perigee = tree / "bin/perigee"
    done = subprocess.run(
        [perigee, "serve"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1 and "perigee new NAME" in done.stderr
    samples = done.stderr.split()[-1]
    assert Path(samples) == tree / "share/perigee/scripts"
    host = Host(samples, (), executable=str(perigee))
    try:
        assert b"<html" in host.get("/").body
        with host.client("/echo") as client:
            client.text("x")
            assert client.hear_text() == "x"
        host.signal()
        assert host.end() == 0, host.text()
    finally:
        host.kill()


def test_beside_a_build_there_are_no_samples_to_name(tmp_path):
    done = subprocess.run(
        [program(), "serve"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "samples" not in done.stderr and "perigee new NAME" in done.stderr


def test_a_folder_that_was_named_is_not_answered_with_samples(tree, tmp_path):
    done = subprocess.run(
        [tree / "bin/perigee", "serve", "nowhere"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "nowhere" in done.stderr and "samples" not in done.stderr


def test_the_unit_starts_the_program_of_its_tree(tmp_path):
    install(Path("/opt/perigee"), DESTDIR=str(tmp_path / "stage"))
    assert os.listdir(tmp_path / "stage") == ["opt"]
    unit = tmp_path / "stage/opt/perigee/lib/systemd/system/perigee.service"
    (start,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    assert start.startswith("ExecStart=/opt/perigee/bin/perigee serve --config /etc/perigee/")
    assert "@" not in unit.read_text().replace("=~@", "=").replace("=@", "=")


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze (package systemd)")
    install(tmp_path)
    # Its verdict covers whatever else is installed: only what it says of ours counts.
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / "lib/systemd/system/perigee.service"],
        capture_output=True, text=True, check=False,
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path / 'lib/systemd/system'}:"},
    )  # fmt: skip
    assert not [line for line in done.stderr.splitlines() if "perigee" in line], done.stderr
