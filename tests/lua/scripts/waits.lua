-- ws.sleep where no connection is needed: what may wait, and what raises.
local check = require "check"
local ws = require "ws"

local case = check.suite()
local in_start

local function start()
  in_start = table.pack(pcall(ws.sleep, 0))
end

case("sleep gives nothing back and waits at least so long", function()
  local before = ws.monotonic()
  check.equal(select("#", ws.sleep(0.03)), 0)
  check.truthy(ws.monotonic() - before >= 0.03, "time passed")
end)

case("sleep of 0 lets others go first", function()
  local ran = false
  ws.after(0, function() ran = true end)
  check.eventually(function() return ran end)
end)

case("in start it raises", function()
  check.equal(in_start[1], false)
  check.truthy(in_start[2]:find "start", in_start[2])
end)

case("over 60 seconds it raises at the call", function()
  check.misuse("60", function() ws.sleep(60.001) end)
  check.misuse("60", function() ws.sleep(math.huge) end)
  check.misuse("", function() ws.sleep(-1) end)
  check.misuse("", function() ws.sleep(0 / 0) end)
  check.misuse("number expected", function() ws.sleep() end)
  check.misuse("number expected", function() ws.sleep "long" end)
end)

case("in a coroutine of the script's own it raises", function()
  local ok, message = coroutine.resume(coroutine.create(function() ws.sleep(0) end))
  check.equal(ok, false)
  check.truthy(message:find "waits.lua:%d+:.*coroutine", message)
  check.raises("coroutine", coroutine.wrap(function() ws.sleep(0) end))
  ws.sleep(0) -- here it goes on
end)

case("a bare yield out of a handler raises, in pcall too", function()
  check.raises("yield", coroutine.yield)
  check.raises("yield", function() pcall(error) coroutine.yield(1, 2) end)
  ws.sleep(0)
end)

case("a coroutine of the script's own may yield while its handler goes on to wait", function()
  local co = coroutine.wrap(function()
    for i = 1, 3 do
      coroutine.yield(i)
    end
  end)
  local got = {}
  for i = 1, 3 do
    got[i] = co()
    ws.sleep(0.001)
  end
  check.equal(got, { 1, 2, 3 })
end)

case("it waits inside pcall and xpcall, results and errors come through", function()
  check.equal({ pcall(function() ws.sleep(0.001) return 1, nil, 3 end) }, { true, 1, nil, 3 })
  local ok, message = pcall(function() ws.sleep(0.001) error("later", 0) end)
  check.equal({ ok, message }, { false, "later" })
  check.equal({ pcall(ws.sleep, 0.001) }, { true })
  check.equal({ xpcall(function(a) ws.sleep(0.001) return a end, print, 5) }, { true, 5 })
  ok, message = xpcall(function() ws.sleep(0.001) error("again", 0) end,
    function(e) return e .. " handled" end)
  check.equal({ ok, message }, { false, "again handled" })
end)

case("pcall in pcall with waits between", function()
  local trace = {}
  local ok = pcall(function()
    local inner = pcall(function()
      ws.sleep(0.001)
      error "inner"
    end)
    trace[#trace + 1] = inner
    ws.sleep(0.001)
    error "outer"
  end)
  check.equal({ ok, trace[1] }, { false, false })
  ws.sleep(0.001)
end)

case("it waits in iterators and metamethods, and where it can't it raises", function()
  local function slowly(n)
    return function(_, i)
      ws.sleep(0)
      if i < n then return i + 1 end
    end, nil, 0
  end
  local sum = 0
  for i in slowly(3) do
    sum = sum + i
  end
  check.equal(sum, 6)
  check.raises("wait", table.sort, { 3, 1, 2 }, function(a, b) ws.sleep(0) return a < b end)
  check.raises("wait", string.gsub, "abc", ".", function() ws.sleep(0) end)
  ws.sleep(0)
end)

case("to-be-closed variables close after a wait, and when an error passes", function()
  local closed = {}
  local function closing(name)
    return setmetatable({}, { __close = function() closed[#closed + 1] = name end })
  end
  do
    local _ <close> = closing "block"
    ws.sleep(0.001)
  end
  pcall(function()
    local _ <close> = closing "error"
    ws.sleep(0.001)
    error "x"
  end)
  check.equal(closed, { "block", "error" })
end)

case("a waiting handler's locals and upvalues are its own", function()
  local results = {}
  for i = 1, 20 do
    ws.after(0, function()
      local mine = i * 10
      ws.sleep(i % 3 / 1000)
      results[#results + 1] = mine == i * 10
    end)
  end
  check.eventually(function() return #results == 20 end)
  for _, fine in ipairs(results) do
    check.equal(fine, true)
  end
end)

case("200 handlers may wait at once", function()
  local left = 200
  for _ = 1, 200 do
    ws.after(0, function()
      ws.sleep(0.05)
      left = left - 1
    end)
  end
  check.eventually(function() return left == 0 end)
end)

return case:script { start = start }
