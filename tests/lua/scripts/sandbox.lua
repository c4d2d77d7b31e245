-- What Lua has here, and what it lacks.
local check = require "check"
local ws = require "ws"

local case = check.suite()

local function names(of)
  local list = {}
  for name in pairs(of) do
    list[#list + 1] = name
  end
  table.sort(list)
  return table.concat(list, " ")
end

case("no io, no package, no bytecode, nothing that reads files", function()
  for _, name in ipairs { "io", "package", "dofile", "loadfile", "loadstring", "module" } do
    check.equal(rawget(_G, name), nil, name)
  end
  check.equal(string.dump, nil)
  check.equal((""):rep(0).dump, nil)
end)

case("os tells the time and no more", function()
  check.equal(names(os), "clock date difftime time")
  check.truthy(math.abs(os.time() - ws.now()) < 5)
  check.truthy(os.clock() >= 0)
end)

case("debug is traceback only", function()
  check.equal(names(debug), "traceback")
  check.truthy(debug.traceback("here"):find "^here\nstack traceback:\n.*sandbox.lua:%d+:")
  check.equal(debug.traceback(nil), debug.traceback())
  local value = {}
  check.truthy(debug.traceback(value) == value)
  local co = coroutine.create(function() coroutine.yield() end)
  coroutine.resume(co)
  check.truthy(debug.traceback(co, "other"):find "^other\nstack traceback:")
  local function inner() return (debug.traceback("", 2)) end
  check.truthy(not inner():find "'inner'", "the level is heeded")
  check.equal(select(2, debug.traceback("", 100):gsub("\n\t", "")), 0)
end)

case("collectgarbage tells the count only", function()
  check.equal(math.type(collectgarbage "count"), "float")
  check.truthy(collectgarbage "count" > 0)
  for _, what in ipairs { "collect", "stop", "step", "generational", "setpause", "nonsense" } do
    check.raises("count", collectgarbage, what)
  end
  check.misuse("count", function() collectgarbage() end)
end)

case("setmetatable takes no __gc", function()
  check.misuse("__gc", function() setmetatable({}, { __gc = function() end }) end)
  check.misuse("__gc", function() setmetatable({}, { __gc = true }) end)
end)

case("setmetatable does all else that Lua's does", function()
  local t, mt = {}, { __index = { a = 1 } }
  check.truthy(setmetatable(t, mt) == t)
  check.equal(t.a, 1)
  check.truthy(getmetatable(t) == mt)
  setmetatable(t, nil)
  check.equal(t.a, nil)
  local closed = setmetatable({}, { __metatable = "locked" })
  check.equal(getmetatable(closed), "locked")
  check.misuse("protected", function() setmetatable(closed, {}) end)
  check.misuse("table expected", function() setmetatable(1, {}) end)
  check.misuse("nil or table", function() setmetatable({}, 1) end)
  check.misuse("nil or table", function() setmetatable({}) end)
end)

case("the API's own types keep their metatables", 1, function(conn)
  for _, value in ipairs { conn, ws.all, ws.room "a", ws.limiter { rate = 1 }, ws.json.null } do
    check.truthy(type(getmetatable(value)) ~= "table")
  end
end)

case("load takes text", function()
  check.equal(load "return 1 + 1"(), 2)
  check.equal(load("return ...", "name")(3), 3)
  local env = { a = 5 }
  check.equal(load("return a", "name", "t", env)(), 5)
  check.equal(load("return a", "name", "bt", env)(), 5)
  check.equal(load("a = 6", "name", "t", env)(), nil)
  check.equal(env.a, 6)
  local pieces = { "return ", "1", " + 2" }
  check.equal(load(function() return table.remove(pieces, 1) end)(), 3)
end)

case("load answers nil and a message for what does not compile", function()
  check.refused('%[string "x="%]:1:', load "x=")
  check.refused("^name:1:", load("x=", "=name"))
end)

case("load refuses bytecode", function()
  local bytecode = "\27Lua\x54\0\x19\x93\r\n\x1a\n\4\8\8"
  local f, message = load(bytecode)
  check.refused("binary", f, message)
  check.refused("binary", load(function()
    local piece = bytecode
    bytecode = nil
    return piece
  end))
  check.truthy(not pcall(load, "return 1", "name", "b"))
end)

case("load takes at most 1 MiB", function()
  local fits = "return 7" .. (" "):rep((1 << 20) - 8)
  check.equal(load(fits)(), 7)
  check.raises("1 MiB", load, fits .. " ")
  local left = 70
  check.raises("1 MiB", load, function()
    left = left - 1
    return left > 0 and (" "):rep(16384) or nil
  end)
end)

case("load loads nothing when a piece function fails", function()
  local pieces = { function() error "no" end, function() return {} end }
  for _, piece in ipairs(pieces) do
    local ok, f = pcall(load, piece)
    check.truthy(not ok or f == nil)
  end
end)

case("pcall and xpcall do what Lua's do", function()
  check.equal({ pcall(function(...) return ... end, 1, nil, 3) }, { true, 1, nil, 3 })
  local object = { code = 7 }
  local ok, err = pcall(error, object)
  check.truthy(not ok and err == object)
  check.equal({ pcall(error) }, { false })
  check.equal({ pcall(1) }, { false, "attempt to call a number value" })
  check.equal({ xpcall(function(a) return a end, print, 4) }, { true, 4 })
  check.equal({ xpcall(error, function(e) return e .. "!" end, "no", 0) }, { false, "no!" })
  check.raises("value expected", pcall)
  check.raises("function expected", xpcall, print)
end)

case("pcall inside pcall, and errors in message handlers", function()
  local ok, err = pcall(pcall, error, "inner")
  check.equal({ ok, err }, { true, false })
  ok = xpcall(error, function() error "again" end, "first")
  check.equal(ok, false)
end)

case("a stack overflow is an error like any other", function()
  local function deeper() return 1 + deeper() end
  local ok, message = pcall(deeper)
  check.equal(ok, false)
  check.truthy(message:find "overflow" or message:find "memory", message)
end)

case("coroutines work, results and errors both", function()
  local co = coroutine.create(function(a)
    local b = coroutine.yield(a + 1)
    error("with " .. b, 0)
  end)
  check.equal({ coroutine.resume(co, 1) }, { true, 2 })
  check.equal({ coroutine.resume(co, "b") }, { false, "with b" })
  check.equal({ coroutine.resume(co) }, { false, "cannot resume dead coroutine" })
  local gen = coroutine.wrap(function()
    for i = 1, 3 do
      coroutine.yield(i)
    end
  end)
  check.equal({ gen(), gen(), gen() }, { 1, 2, 3 })
  local open = coroutine.create(coroutine.yield)
  coroutine.resume(open)
  check.equal({ coroutine.close(open) }, { true })
  check.equal(coroutine.isyieldable(), true)
end)

case("a coroutine that has raised is dead, and close tells why once", function()
  local object = {}
  local co = coroutine.create(function() error(object) end)
  check.equal(coroutine.status(co), "suspended")
  local ok, err = coroutine.resume(co)
  check.truthy(not ok and err == object)
  check.equal(coroutine.status(co), "dead")
  check.equal({ coroutine.resume(co, 1, 2) }, { false, "cannot resume dead coroutine" })
  ok, err = coroutine.close(co)
  check.truthy(not ok and err == object)
  check.equal({ coroutine.close(co) }, { true })
  check.equal(coroutine.status(co), "dead")
  check.equal({ coroutine.close(coroutine.create(print)) }, { true })
end)

case("coroutines know which of them runs", function()
  local states = {}
  local outer, inner
  inner = coroutine.create(function()
    states[1] = coroutine.status(outer)
    states[2] = coroutine.status(inner)
    states[3] = select(2, coroutine.resume(inner))
    states[4] = select(2, coroutine.resume(outer))
    states[5] = select(2, pcall(coroutine.close, outer))
    states[6] = select(2, coroutine.running())
  end)
  outer = coroutine.create(function(...)
    states.arguments = table.pack(...)
    coroutine.resume(inner)
  end)
  check.truthy(coroutine.resume(outer, nil, 2, nil))
  check.equal(states, {
    "normal", "running", "cannot resume non-suspended coroutine",
    "cannot resume non-suspended coroutine", "cannot close a normal coroutine", false,
    arguments = { nil, 2, nil, n = 3 },
  })
  check.equal(coroutine.status(outer), "dead")
  check.misuse("function expected", function() coroutine.create(1) end)
  check.misuse("coroutine expected", function() coroutine.resume(1) end)
end)

case("close runs what is to be closed, without an error, and says what that raised", function()
  local seen = {}
  local function suspended(raises)
    local co = coroutine.create(function()
      local _ <close> = setmetatable({}, { __close = function(_, err)
        seen[#seen + 1] = tostring(err)
        if raises then error("in close", 0) end
      end })
      coroutine.yield()
    end)
    coroutine.resume(co)
    return co
  end
  check.equal({ coroutine.close(suspended()) }, { true })
  check.equal({ coroutine.close(suspended(true)) }, { false, "in close" })
  check.equal(seen, { "nil", "nil" })
end)

case("wrap passes errors on, a text with its place", function()
  local object = {}
  local ok, err = pcall(coroutine.wrap(function() error(object) end))
  check.truthy(not ok and err == object)
  local gen = coroutine.wrap(function() error("here", 0) end)
  ok, err = pcall(function() gen() return 1 end)
  check.truthy(not ok and err:find "sandbox.lua:%d+: here$", err)
  check.raises("cannot resume dead coroutine", gen)
  check.raises("C stack overflow", function()
    local function deeper() coroutine.wrap(deeper)() end
    deeper()
  end)
end)

case("a coroutine takes and gives many values", function()
  local many = {}
  for i = 1, 5000 do
    many[i] = i
  end
  local co = coroutine.wrap(function(...)
    while true do coroutine.yield(select("#", ...), ...) end
  end)
  check.equal(select("#", co(table.unpack(many))), 5001)
end)

case("table functions do what Lua's do", function()
  local t = { 1, 2, 3 }
  table.insert(t, 4)
  table.insert(t, 1, 0)
  check.equal(t, { 0, 1, 2, 3, 4 })
  check.equal(table.remove(t, 1), 0)
  check.equal(table.remove(t), 4)
  check.equal(table.remove(t, 4), nil)
  check.equal(t, { 1, 2, 3 })
  check.equal(table.remove({}), nil)
  check.equal(table.remove({}, 0), nil)
  check.equal(table.move({ 1, 2, 3 }, 1, 3, 2), { 1, 1, 2, 3 })
  check.equal(table.move({ 1, 2, 3 }, 2, 3, 1), { 2, 3, 3 })
  check.equal(table.move({ 1, 2 }, 1, 2, 2, {}), { nil, 1, 2 })
  check.equal(table.move({ 1 }, 1, 0, 5), { 1 })
  check.equal(table.concat({ 1, "a", 2.5 }, "-"), "1-a-2.5")
  check.equal(table.concat({ 1, 2, 3 }, ",", 2, 3), "2,3")
  check.equal(table.concat({}, ","), "")
  check.equal(table.concat({ [math.maxinteger] = "x" }, ",", math.maxinteger, math.maxinteger), "x")
  check.misuse("position out of bounds", function() table.insert({ 1 }, 5, 2) end)
  check.misuse("wrong number of arguments", function() table.insert({}, 1, 2, 3) end)
  check.misuse("position out of bounds", function() table.remove({ 1 }, 5) end)
  check.misuse("too many elements to move", function() table.move({}, -1, math.maxinteger, 1) end)
  check.misuse("wrap around", function() table.move({}, 1, 2, math.maxinteger) end)
  local holes = { 1, nil, 3 }
  check.misuse("invalid value %(nil%) at index 2", function() table.concat(holes, "", 1, 3) end)
  check.misuse("table expected", function() table.insert(1, 2) end)
end)

case("table functions heed metamethods", function()
  local log = {}
  local proxy = setmetatable({}, {
    __len = function() return 3 end,
    __index = function(_, i) return i * 10 end,
    __newindex = function(_, i, v) log[#log + 1] = i .. "=" .. tostring(v) end,
  })
  check.equal(table.concat(proxy, " "), "10 20 30")
  table.insert(proxy, 2, "x")
  check.equal(log, { "4=30", "3=20", "2=x" })
  log = {}
  check.equal(table.remove(proxy, 2), 20)
  check.equal(log, { "2=30", "3=nil" })
end)

case("sort sorts", function()
  for _, n in ipairs { 0, 1, 2, 3, 4, 5, 10, 100, 1000 } do
    local t, sum = {}, 0
    for i = 1, n do
      t[i] = math.random(n)
      sum = sum + t[i]
    end
    table.sort(t)
    for i = 2, n do
      check.truthy(t[i - 1] <= t[i])
      sum = sum - t[i]
    end
    check.equal(sum - (t[1] or 0), 0)
    table.sort(t, function(a, b) return a > b end)
    for i = 2, n do
      check.truthy(t[i - 1] >= t[i])
    end
  end
  local words = { "pear", "apple", "fig" }
  table.sort(words)
  check.equal(words, { "apple", "fig", "pear" })
  check.raises("compare", function() table.sort { 1, "a", 2 } end)
  check.misuse("function expected", function() table.sort({ 1, 2 }, 5) end)
end)

case("sort loses nothing when the order function raises, or is none", function()
  for stop = 1, 60 do
    local t, calls = { 5, 3, 8, 1, 9, 2, 7, 4, 6, 10 }, 0
    pcall(table.sort, t, function(a, b)
      calls = calls + 1
      if calls == stop then error "enough" end
      return a < b
    end)
    local sum = 0
    for _, v in ipairs(t) do
      sum = sum + (1 << v)
    end
    check.equal(sum, 2046, "after " .. stop)
  end
  local t = {}
  for i = 1, 500 do
    t[i] = i
  end
  table.sort(t, function() return true end)
  check.equal(#t, 500)
  table.sort(t, function() return math.random() < 0.5 end)
  check.equal(#t, 500)
end)

case("ranges that no table of the script can have are refused", function()
  local lies = setmetatable({}, { __len = function() return 1 << 53 end })
  check.misuse("too many elements", function() table.move({}, 1, 1 << 62, 2) end)
  check.misuse("too many elements", function() table.insert(lies, 1, 1) end)
  check.misuse("too many elements", function() table.remove(lies, 1) end)
  check.misuse("too many results", function() table.unpack({}, 1, 1 << 62) end)
  check.misuse("array too big", function() table.sort(lies) end)
  lies = setmetatable({}, { __len = function() return 1 << 30 end })
  check.misuse("too many elements", function() table.sort(lies) end)
  check.misuse("too large", function() ("x"):rep(1 << 62, "y") end)
  check.equal((""):rep(1 << 62), "")
end)

case("a coroutine that yields through pcall", function()
  local co = coroutine.wrap(function()
    local ok, got = pcall(function()
      return coroutine.yield(1) + 1
    end)
    return ok, got
  end)
  check.equal(co(), 1)
  check.equal({ co(41) }, { true, 42 })
end)

case("a bare yield out of a handler raises", function()
  check.raises("yield", coroutine.yield)
  check.misuse("yield", function() coroutine.yield(1) end)
end)

case("the standard library is whole otherwise", function()
  check.equal(names(table), "concat insert move pack remove sort unpack")
  check.equal(names(utf8), "char charpattern codepoint codes len offset")
  check.equal(names(coroutine), "close create isyieldable resume running status wrap yield")
  check.equal(names(string), "byte char find format gmatch gsub len lower match pack packsize rep "
    .. "reverse sub unpack upper")
  check.truthy(math.tointeger(3.0) == 3 and math.random() < 1)
  check.equal(_VERSION, "Lua 5.4")
end)

case("print and tostring work on anything", function()
  print(nil, true, 1, "a", {}, print, ws.all)
end)

case("each request runs in the same globals, each script has its own", function()
  check.equal(rawget(_G, "left_by_request"), nil)
  rawset(_G, "left_by_sandbox", true)
  check.equal(rawget(_G, "left_by_sandbox"), true)
end)

return case:script {}
