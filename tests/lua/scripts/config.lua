-- ws.config, ws.script and the clocks.
local check = require "check"
local ws = require "ws"

local case = check.suite()
local at_load = { greeting = ws.config.greeting, name = ws.script.name }

case("config is the script's own section of perigee.lua", function()
  check.equal(ws.config, {
    greeting = "hello",
    big = math.maxinteger,
    ratio = 0.5,
    list = { 1, 2, { deep = true } },
  })
end)

case("config and script answer while loading", function()
  check.equal(at_load, { greeting = "hello", name = "config" })
end)

case("script tells name, generation and version", function()
  check.equal(ws.script.name, "config")
  check.equal(ws.script.generation, 1)
  check.equal(ws.script.version, 7)
end)

case("now is the time of day, in seconds with a fraction", function()
  check.equal(math.type(ws.now()), "float")
  check.truthy(math.abs(ws.now() - os.time()) < 5)
end)

case("monotonic goes on while a handler waits", function()
  local before = ws.monotonic()
  check.equal(math.type(before), "float")
  ws.sleep(0.05)
  check.truthy(ws.monotonic() - before >= 0.049, "time passed")
end)

case("now and monotonic go on while a handler runs", function()
  local now, monotonic = ws.now(), ws.monotonic()
  local busy = os.clock() + 0.02
  repeat until os.clock() >= busy
  check.truthy(ws.now() > now)
  check.truthy(ws.monotonic() >= monotonic)
end)

case("later names are nil", function()
  check.equal(ws.store, nil)
  check.equal(ws.http, nil)
  check.equal(ws.crypto, nil)
end)

return case:script { version = 7 }
