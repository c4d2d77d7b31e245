"""What tools/setup says where it can't install: one message with everything that is missing."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FEDORA = 'ID=fedora\nVERSION_ID=42\nPRETTY_NAME="Fedora Linux 42"\n'
DEBIAN = "ID=debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\n"
# What it needs to look around; no compiler, no cmake, no apt-get, no sudo.
TOOLS = "bash env dirname cat cksum tr mkdir touch rm id grep flock awk".split()
NOBODY = 65534

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"),
    reason="only root, by unshare, may have another /etc/os-release",
)


@pytest.fixture
def setup():
    """setup(goal, os_release, uid, tools...) runs a copy of it on another system, in a way."""
    with tempfile.TemporaryDirectory(prefix="perigee-setup-") as name:
        folder = Path(name)

        def run(goal: str, system: str, uid: int, *tools: str) -> subprocess.CompletedProcess:
            (folder / "bin").mkdir()
            for file in ("tools/setup", "tests/requirements.txt"):
                (folder / "project" / file).parent.mkdir(parents=True)
                shutil.copy(ROOT / file, folder / "project" / file)
            (folder / "os-release").write_text(system)
            for tool in [*TOOLS, *tools]:
                (folder / "bin" / tool).symlink_to(shutil.which(tool))
            for path in (folder, folder / "project"):
                path.chmod(0o777)
            script = (
                f'mount --bind "{folder}/os-release" /etc/os-release && exec setpriv --reuid={uid}'
                f" --regid={uid} --clear-groups env -i PATH={folder}/bin tools/setup {goal}"
            )
            return subprocess.run(
                ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
                cwd=folder / "project", capture_output=True, text=True, check=False,
            )  # fmt: skip

        yield run


def missing(done: subprocess.CompletedProcess, before: str) -> list[str]:
    """What the one line lists."""
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1 and before in done.stderr, done.stderr
    return done.stderr.split(before)[1].split()


@pytest.mark.parametrize("uid", [0, NOBODY])
def test_elsewhere_one_line_names_all_that_is_missing(setup, uid):
    names = missing(setup("build", FEDORA, uid), "this is not Debian 12 or 13; please install: ")
    assert {"cc", "make", "cmake", "ninja", "git", "uv.h", "llhttp.h", "Lua"} <= set(names)
    assert "luacheck" not in names and "dh" not in names


@pytest.mark.parametrize("goal", ["test", "acceptance"])
def test_what_tests_need_is_in_the_same_line(setup, goal):
    names = missing(setup(goal, FEDORA, NOBODY), "please install: ")
    assert {"cc", "uv.h", "luacheck", "cmocka.h"} <= set(names)


def test_what_the_package_needs_is_in_the_same_line(setup):
    names = missing(setup("deb", FEDORA, NOBODY), "please install: ")
    assert {"cc", "uv.h", "dh", "dpkg-buildpackage"} <= set(names)


def test_what_fuzzing_needs_is_in_the_same_line(setup):
    names = missing(setup("fuzz", FEDORA, NOBODY), "please install: ")
    assert {"cc", "uv.h", "clang", "llvm-symbolizer"} <= set(names)


@pytest.mark.parametrize("goal", ["bench", "bench-quick"])
def test_what_measuring_needs_is_in_the_same_line(setup, goal):
    names = missing(setup(goal, FEDORA, NOBODY), "please install: ")
    assert {"cc", "uv.h", "openssl", "python3"} <= set(names)


def test_what_is_there_is_not_named(setup):
    names = missing(setup("build", FEDORA, NOBODY, "cc", "as", "cmake"), "please install: ")
    assert "cmake" not in names and "cc" not in names and "uv.h" not in names
    assert {"make", "git"} <= set(names)


def test_on_debian_without_sudo_it_says_what_root_has_to_do(setup):
    names = missing(setup("build", DEBIAN, NOBODY), "as root, please: apt-get install ")
    assert {"gcc", "cmake", "libuv1-dev", "libssl-dev"} <= set(names)
