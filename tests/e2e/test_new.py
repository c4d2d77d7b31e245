"""perigee new: each template is made, served and answers; what is there is left alone."""

import json
import resource
import subprocess

import pytest
from websockets.sync.client import connect

from conftest import Host, check_sanitizers, program
from support.host import ROOT

TEMPLATES = ["echo", "chat", "feed", "lobby"]
HEAR_S = 20

# By template: where to connect, and what is said first.
FIRST = {
    "echo": ("/echo", lambda data: data == "Hello! Connected here: 1."),
    "chat": ("/chat/tea?name=Ann", lambda data: json.loads(data)["name"] == "Ann"),
    "feed": ("/feed", lambda data: json.loads(data) == {"readings": {}}),
    "lobby": ("/lobby/go", lambda data: json.loads(data)["type"] == "waiting"),
}

# Where each template's files come from: nothing is a copy.
SOURCES = {
    "echo": [ROOT / "examples/echo"],
    "chat": [ROOT / "scripts", ROOT / "examples/chat"],
    "feed": [ROOT / "examples/feed"],
    "lobby": [ROOT / "examples/lobby"],
}


@pytest.fixture
def new(tmp_path):
    """Runs `perigee new` in a folder of its own: new(arguments..) -> (status, stdout, stderr)."""

    def start(*args: str, **options):
        done = subprocess.run(
            [program(), "new", *args],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
            **options,
        )
        check_sanitizers(done.stderr)
        return done.returncode, done.stdout, done.stderr

    return start


def files(folder) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_is_made_runs_at_once(new, tmp_path, template):
    assert new("mine", "--template", template)[0] == 0
    host = Host(tmp_path / "mine", ())
    try:
        page = host.get("/")
        assert page.status == 200 and b"<html" in page.body
        assert host.get("/perigee.js").status == 200
        path, good = FIRST[template]
        with connect(host.ws + path) as socket:
            data = socket.recv(HEAR_S)
            assert good(data), data
        assert not any("not loaded" in line for line in host.out)
        assert host.complaints() == []
        assert host.stop() == 0
    finally:
        host.kill()
    check_sanitizers(host.text())


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_is_made_are_the_very_files_of_the_example(new, tmp_path, template):
    assert new("mine", f"--template={template}")[0] == 0
    made = files(tmp_path / "mine")
    assert {"README.md", f"{template}.lua", "public/index.html", ".luarc.json"} <= made.keys()
    for name, content in made.items():
        if name.startswith(("meta/", ".luarc.json")):
            continue
        found = [source / name for source in SOURCES[template] if (source / name).exists()]
        assert found and content == found[-1].read_bytes(), name
    # And none is missing: every file of the example is there.
    for source in SOURCES[template]:
        if source.parent == ROOT / "examples":
            assert {*files(source)} <= made.keys()
    if template == "chat":
        assert "lib/words.lua" in made
    types = {f"meta/{path.name}" for path in (ROOT / "scripts/meta").glob("*.lua")}
    assert {name for name in made if name.startswith("meta/")} == types


@pytest.mark.parametrize("template", TEMPLATES)
def test_check_has_nothing_to_say_about_what_is_made(new, run, tmp_path, template):
    assert new("mine", f"--template={template}")[0] == 0
    status, out, err = run("check", str(tmp_path / "mine"))
    assert (status, err) == (0, "") and "0 errors, 0 warnings" in out


def test_editors_are_told_what_is_there(new, tmp_path):
    assert new("mine")[0] == 0
    settings = json.loads((tmp_path / "mine/.luarc.json").read_text())
    assert settings["workspace.library"] == ["meta"]
    ours = json.loads((ROOT / ".luarc.json").read_text())
    for name in ("runtime.version", "runtime.builtin", "runtime.pathStrict"):
        assert settings[name] == ours[name]


def test_it_says_what_it_made_and_what_next(new, tmp_path):
    status, out, err = new("my-scripts")
    assert (status, err) == (0, "")
    assert "made my-scripts from the template echo:\n" in out
    listed = {line.strip() for line in out.splitlines() if line.startswith("  my-scripts/")}
    assert listed == {f"my-scripts/{name}" for name in files(tmp_path / "my-scripts")}
    assert "  perigee serve my-scripts\n" in out


def test_a_path_names_the_folder_in_another_one(new, tmp_path):
    (tmp_path / "games").mkdir()
    assert new("games/quiz")[0] == 0
    assert (tmp_path / "games/quiz/echo.lua").exists()
    status, _, err = new("nowhere/quiz")
    assert status == 1
    assert err == 'perigee: the folder "nowhere/quiz" can\'t be made: No such file or directory\n'


@pytest.mark.parametrize("what", ["folder", "file", "link"])
def test_what_is_there_is_never_touched(new, tmp_path, what):
    there = tmp_path / "mine"
    if what == "folder":
        there.mkdir()
    elif what == "file":
        there.write_text("mine")
    else:
        there.symlink_to("nowhere")
    status, out, err = new("mine")
    assert (status, out) == (1, "")
    assert err == 'perigee: there is a "mine" already: choose another name\n'
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert what != "folder" or list(there.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a b", "a\nb", "x/", "a;b", "$x", "x" * 256, "a'b"]
)
def test_a_name_that_makes_trouble_is_refused(new, tmp_path, name):
    status, _, err = new(name)
    assert status == 2
    assert err.startswith("perigee: a folder's name is made of letters, digits, ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "Quiz_2", "my-scripts.v1", "über", "9"])
def test_a_good_name_is_taken(new, tmp_path, name):
    assert new(name)[0] == 0
    assert (tmp_path / name / "echo.lua").exists()


@pytest.mark.parametrize(
    "args, words",
    [
        ((), "how is the folder to be called?"),
        (("a", "b"), 'one folder is made, not both "a" and "b"'),
        (("a", "--template", "shop"), 'there is no template "shop": see perigee new --help'),
        (("a", "--template", "loby"), 'there is no template "loby": did you mean lobby?'),
        (("a", "--template"), "--template needs a value"),
        (("a", "--force"), 'new has no option "--force": see perigee new --help'),
        (("-x",), 'new has no option "-x": see perigee new --help'),
    ],
)
def test_wrong_usage_is_told(new, tmp_path, args, words):
    status, out, err = new(*args)
    assert (status, out) == (2, "")
    assert words in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_lists_the_templates(new, tmp_path):
    status, out, err = new("--help")
    assert (status, err) == (0, "")
    for template in TEMPLATES:
        assert f"  {template} " in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("template", ["chat", "feed"])
def test_a_failure_half_way_leaves_nothing_behind(new, tmp_path, template):
    """As on a full disk: no file may be larger than 2,000 bytes."""

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    # Without restore_signals SIGXFSZ stays ignored: the write fails instead.
    status, out, err = new(
        "mine", "--template", template, preexec_fn=small_files, restore_signals=False
    )
    assert (status, out) == (1, "")
    assert "can't be written: File too large; nothing of it was kept\n" in err
    assert list(tmp_path.iterdir()) == []
