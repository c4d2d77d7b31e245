"""Scripts that the operator trusts: the modules of the system, in C too, and what stays away."""

import json
import os
import subprocess

import pytest

from conftest import program

ASK = """
return {
  message = function(conn, text)
    local results = table.pack(pcall(assert(load(text))))
    for i = 1, results.n do results[i] = tostring(results[i]) end
    conn:send(table.concat(results, " "))
  end,
}
"""


@pytest.fixture
def trusted(serve):
    return serve({"ask.lua": ASK}, "--trusted")


def ask(host, code: str) -> str:
    with host.client("/ask") as client:
        client.text(code)
        return client.hear_text()


def test_debians_modules_in_c_and_in_lua_work(trusted):
    code = "return require 'cjson'.encode { a = { 1, 2, 'x' } }"
    assert ask(trusted, code) == 'true {"a":[1,2,"x"]}'
    code = "local l = require 'lpeg' return (l.C(l.R 'az' ^ 1) * l.P(-1)):match 'word'"
    assert ask(trusted, code) == "true word"
    assert ask(trusted, "return require 're'.match('12 ab', '{[0-9]+}')") == "true 12"
    assert ask(trusted, "return require 'cjson' == require 'cjson'") == "true true"
    assert ask(trusted, "return require 'string' == string, require 'os' == os") == "true true true"


def test_cjsons_null_is_the_hosts(trusted):
    code = "return require 'cjson'.null == require 'ws'.json.null"
    assert ask(trusted, code) == "true true"


def test_a_module_of_the_folder_goes_before_one_of_the_system(serve):
    files = {"ask.lua": ASK, "lib/cjson.lua": "return { encode = 'ours' }"}
    host = serve(files, "--trusted")
    assert ask(host, "return require 'cjson'.encode") == "true ours"


def test_a_module_of_the_system_requires_by_the_same_rules(serve, tmp_path, monkeypatch):
    (tmp_path / "outer.lua").write_text("return { inner = require 'inner', ws = require 'ws' }")
    (tmp_path / "inner.lua").write_text("return ...")
    monkeypatch.setenv("LUA_PATH", f"{tmp_path}/?.lua;;")
    host = serve({"ask.lua": ASK}, "--trusted")
    code = "local o = require 'outer' return o.inner, o.ws == require 'ws'"
    assert ask(host, code) == "true inner true"


def test_what_is_nowhere_is_told_with_where_it_was_looked_for(trusted):
    answer = ask(trusted, "require 'no.such'")
    assert "module 'no.such' not found: neither" in answer
    assert "lib/no/such.lua" in answer and "nor is it one of the system's" in answer


def test_what_a_module_raises_is_raised(serve, tmp_path, monkeypatch):
    (tmp_path / "bad.lua").write_text("error 'in bad'")
    (tmp_path / "broken.so").write_text("no library")
    monkeypatch.setenv("LUA_PATH", f"{tmp_path}/?.lua")
    monkeypatch.setenv("LUA_CPATH", f"{tmp_path}/?.so")
    host = serve({"ask.lua": ASK}, "--trusted")
    assert "bad.lua:1: in bad" in ask(host, "require 'bad'")
    assert "error loading module 'broken' from file" in ask(host, "require 'broken'")


def test_the_working_directory_is_no_place_for_modules(serve, tmp_path_factory, monkeypatch):
    here = tmp_path_factory.mktemp("here")
    (here / "planted.lua").write_text("return 'planted'")
    monkeypatch.chdir(here)
    host = serve({"ask.lua": ASK}, "--trusted")
    assert "module 'planted' not found" in ask(host, "require 'planted'")
    assert "./" not in ask(host, "return package.path .. package.cpath").replace("/./", "")


def test_io_and_os_are_there_but_not_what_would_end_or_change_the_host(trusted, tmp_path):
    path = tmp_path / "note"
    code = f"local f = io.open('{path}', 'w') f:write 'written' f:close() return os.getenv 'HOME'"
    assert ask(trusted, code) == f"true {os.environ['HOME']}"
    assert path.read_text() == "written"
    assert "would end the host" in ask(trusted, "os.exit(0)")
    absent = (
        "os.setlocale, debug.sethook, debug.setmetatable, debug.getregistry, string.dump, dofile"
    )
    assert ask(trusted, f"return {absent}") == "true nil nil nil nil nil nil"
    assert ask(trusted, "return debug.getinfo(1, 'l').currentline") == "true 1"
    assert "__gc is not available" in ask(trusted, "setmetatable({}, { __gc = print })")
    assert "stack traceback" in ask(trusted, "return debug.traceback()")


@pytest.mark.parametrize("arguments", ["", "null", "null, 'id', 1, 2"])
def test_what_the_metatable_of_connections_holds_may_be_called_anyhow(trusted, arguments):
    code = f"""
        local null = require 'ws'.json.null
        return debug.getmetatable(null).__index({arguments})"""
    assert ask(trusted, code) == "true nil"


def test_a_loop_is_stopped_also_where_a_module_in_c_calls_back(serve):
    host = serve({"ask.lua": ASK}, "--trusted", "--limit=handler_stop_s=0.3")
    code = """
        local l = require 'lpeg'
        local p = l.Cmt(l.P(1), function() while true do end end)
        while true do pcall(p.match, p, "a") end"""
    with host.client("/ask") as client:
        client.text(code)
        client.text("return 1")
        assert client.hear_text() == "true 1"
    assert host.wait(lambda: host.count("handler_stop_s"))


def test_memory_of_a_module_in_c_counts_where_lua_gives_it(serve):
    host = serve({"ask.lua": ASK}, "--trusted", "--limit=script_memory=4MiB")
    code = """
        local l = require 'lpeg'
        local p = l.P 'a'
        for i = 1, 24 do p = p * p end"""
    assert "not enough memory" in ask(host, code) or "too" in ask(host, code)
    assert ask(host, "return 1") == "true 1"


def test_what_a_module_gives_can_not_be_kept_and_the_path_is_named(rules):
    text = """
        local kept = require "ws".state("kept", {})
        return {
          message = function(conn, text)
            kept.patterns = { require "lpeg".P "a" }
            conn:send(tostring(require "ws".script.generation))
          end,
        }"""
    r = rules(text, "--trusted", "--limit=probation_s=0")
    with r.host.client("/a") as client:
        client.text("keep")
        client.hear_text()
        assert "not loaded" in r.save(text + "-- other")
        assert r.host.count("state.kept.patterns[1] can't be kept")
        client.text("the old rules serve")
        assert client.hear_text() == "1"


def test_without_it_nothing_has_changed(serve):
    host = serve({"ask.lua": ASK})
    answer = ask(host, "require 'cjson'")
    assert "module 'cjson' not found: neither" in answer and "system" not in answer
    assert ask(host, "return io, package, os.getenv, debug.getinfo") == "true nil nil nil nil"


def test_the_folder_can_not_set_it(folder):
    files = {"ask.lua": ASK, "perigee.lua": "return { trusted = true }"}
    command = [program(), "serve", str(folder(files)), "--port=0", "--control=off"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert run.returncode != 0 and "trusted" in run.stderr


def test_check_knows_what_trusted_scripts_have(folder):
    where = folder({"ask.lua": "local c = require 'cjson'\nprint(io, c)\nreturn {}\n"})
    command = [program(), "check", "--format=json", str(where)]
    strict = subprocess.run(command, capture_output=True, text=True, check=False)
    rules = [finding["rule"] for finding in json.loads(strict.stdout)]
    assert "no-module" in rules and "unknown-global" in rules
    run = subprocess.run([*command, "--trusted"], capture_output=True, text=True, check=False)
    assert json.loads(run.stdout) == [] and run.returncode == 0
