-- require: ws, DIR/lib, beside the script; circles, failures, what it finds nowhere.
local check = require "check"
local ws = require "ws"

local case = check.suite()

case("ws is ws", function()
  check.truthy(require "ws" == ws)
end)

case("a module from lib, one from beside, the same each time", function()
  local counted = require "counted"
  check.equal(counted.loads, 1)
  check.truthy(require "counted" == counted)
  check.equal(require("_beside").where, "beside the script")
end)

case("lib goes before beside", function()
  check.equal(require "_both", "from lib")
end)

case("a dot leads into a folder", function()
  check.equal(require "more.inner", "inner, more.inner")
end)

case("the module is given its name", function()
  check.equal(require("counted").name, "counted")
end)

case("a module that returns nothing is true, one that returns false is false", function()
  check.equal(require "silent", true)
  check.equal(require "silent", true)
  check.equal(require "falsy", false)
  check.equal(require "falsy", false)
end)

case("modules share the script's ws and globals", function()
  check.truthy(require("counted").ws == ws)
end)

case("what is nowhere raises and names where it looked", function()
  local message = check.raises("module 'nowhere' not found", require, "nowhere")
  check.truthy(message:find("lib/nowhere.lua", 1, true), message)
  check.misuse("nowhere", function() require "nowhere" end)
end)

case("never outside of DIR", function()
  for _, name in ipairs { "..", "../outside", "...outside", "..outside", "a..b", "/etc/passwd",
    "lib/counted", "./counted", "", ".", "a.", ".a", "a/../b", "counted\0", "ws\0",
    "a b", "a\\b" } do
    check.raises("require", require, name)
  end
  check.misuse("module name", function() require "../outside" end)
end)

case("a circle raises and is named", function()
  local message = check.raises("circle", require, "circle_a")
  check.truthy(message:find "circle_a", message)
end)

case("a module that fails is tried again", function()
  check.raises("failing%.lua:%d+: not yet", require, "failing")
  check.raises("failing%.lua:%d+: not yet", require, "failing")
  rawset(_G, "failing_works", true)
  check.equal(require "failing", "works now")
end)

case("an error object passes through require as it is", function()
  local ok, err = pcall(require, "raises_table")
  check.equal(ok, false)
  check.equal(err, { code = 7 })
end)

case("a module can't wait while it is required", function()
  check.raises("wait", require, "waits_in_module")
end)

case("misuse raises", function()
  check.misuse("string expected", function() require() end)
  check.misuse("string expected", function() require {} end)
end)

return case:script {}
