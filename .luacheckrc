-- What a script finds in its sandbox: Lua 5.4 less io, package, debug (but traceback), os (but
-- time), and whatever loads files, C or bytecode. Scripts make no globals; the API comes by require "ws".
std = {
  read_globals = {
    "_G", "_VERSION", "assert", "error", "getmetatable", "ipairs", "load", "next", "pairs",
    "pcall", "print", "rawequal", "rawget", "rawlen", "rawset", "require", "select",
    "setmetatable", "tonumber", "tostring", "type", "xpcall", "collectgarbage",
    coroutine = { fields = {
      "close", "create", "isyieldable", "resume", "running", "status", "wrap", "yield",
    } },
    debug = { fields = { "traceback" } },
    math = { other_fields = true },
    os = { fields = { "clock", "date", "difftime", "time" } },
    string = { fields = {
      "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "pack",
      "packsize", "rep", "reverse", "sub", "unpack", "upper",
    } },
    table = { fields = {
      "concat", "insert", "move", "pack", "remove", "sort", "unpack",
    } },
    utf8 = { fields = { "char", "charpattern", "codepoint", "codes", "len", "offset" } },
  },
}
max_line_length = 100
cache = false

-- These look for what the sandbox has taken away.
files["tests/lua"] = { std = "lua54" }

-- Declarations without bodies: the types that editors read.
files["scripts/meta"] = { ignore = { "121", "122", "142", "143", "212", "241" } }
