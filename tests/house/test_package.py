"""What is said twice about the Debian package stays the same: its version, and what it needs."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_package_has_the_version_of_the_program():
    (version,) = re.findall(
        r"project\(perigee VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text()
    )
    newest = (ROOT / "debian/changelog").read_text().splitlines()[0]
    assert re.fullmatch(rf"perigee \({re.escape(version)}-\d+\) \w+; urgency=\w+", newest)


def test_the_package_asks_for_each_library_that_set_up_installs():
    setup = (ROOT / "tools/setup").read_text()
    lists = re.findall(r"(?:build_packages=|packages\+=)\(([^)]*)\)", setup)
    libraries = {name for names in lists for name in names.split() if re.match(r"lib.*-dev$", name)}
    libraries -= {"libc6-dev"}  # build-essential is there anyway
    control = (ROOT / "debian/control").read_text()
    asked = re.search(r"^Build-Depends:\n((?: .*\n)+)", control, re.MULTILINE)[1]
    named = set(re.findall(r"^ (lib\S+?-dev)\b", asked, re.MULTILINE))
    assert {"libuv1-dev", "libllhttp-dev"} <= libraries
    assert named - {"liblua5.4-dev"} == libraries  # Lua: set-up fetches its source
