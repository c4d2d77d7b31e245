-- ws.log and print: one line an event, whatever is in it.
local check = require "check"
local ws = require "ws"

local lines = {}

function lines.levels()
  for _, level in ipairs { "debug", "info", "warn", "error" } do
    ws.log[level]("at " .. level)
  end
end

function lines.fields() ws.log.info("with fields", { n = 1, text = "two words", on = true }) end
function lines.forged() ws.log.info("one\nlevel=error msg=two", { k = "a\nb\27[31m\0\xff\"\\" }) end
function lines.forged_key() ws.log.info("key", { ["a b=\n"] = 1 }) end

function lines.printed()
  print("a", 1, nil, true, setmetatable({}, { __tostring = function() return "T" end }))
end

function lines.print_nothing() print() end
function lines.print_lines() print "first\nsecond" end
function lines.conn_field() ws.log.warn("null", { who = ws.json.null, all = ws.all }) end
function lines.unicode() ws.log.info("é 漢 🎈 \u{2028} \u{85}") end

function lines.misuse()
  check.misuse("string expected", function() ws.log.info() end)
  check.misuse("string expected", function() ws.log.info {} end)
  check.misuse("table expected", function() ws.log.info("x", 1) end)
  check.misuse("fields", function() ws.log.info("x", { 1 }) end)
  local ok = pcall(ws.log.info, "x", { a = setmetatable({}, { __tostring = error }) })
  check.equal(ok, false)
end

return {
  request = function(req)
    lines[req.query.line]()
    return 200, "logged"
  end,
}
