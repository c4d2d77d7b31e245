-- after, every, cancel. What is waited for is counted, never timed.
local check = require "check"
local ws = require "ws"

local case = check.suite()
local heard = {} -- name of the case -> what its timers were given
local timers = {}
local beats = {}

local function hear(into, what)
  heard[into] = heard[into] or {}
  table.insert(heard[into], what)
end

local function count(of)
  return heard[of] and #heard[of] or 0
end

local function await(of, n)
  check.eventually(function() return count(of) >= n end, n .. " of " .. of)
  return heard[of]
end

function timers.note(data)
  hear(data.into, data)
end

function timers.bare(...)
  hear("bare", { n = select("#", ...), ... })
end

function timers.beat(data)
  hear(data.into, data.what)
end

function timers.slow(data)
  hear(data.into, "begun")
  ws.sleep(0.1)
  hear(data.into, "done")
end

--- Waits until the case lets it go on.
function timers.held(data)
  hear(data.into, "begun")
  check.eventually(function() return beats[data.into] end, "go on, " .. data.into)
  hear(data.into, "done")
end

function timers.failing(data)
  hear(data.into, "beat")
  error "this beat is lost"
end

function timers.cancels_itself(data)
  hear(data.into, tostring(ws.cancel(beats[data.into])))
end

function timers.begins_anew(data)
  ws.cancel(beats.old)
  beats.new = ws.every(0.005, "begins_anew", data)
  hear(data.into, beats.new)
end

case("after runs a function once", function()
  local id = ws.after(0, function(...) hear("after fn", select("#", ...)) end)
  check.equal(math.type(id), "integer")
  check.equal(count "after fn", 0) -- after this, not within it
  await("after fn", 1)
  ws.sleep(0.03)
  check.equal(count "after fn", 1)
end)

case("after runs a named timer with its data", function()
  ws.after(0.001, "note", { into = "after name", list = { 1, 2 } })
  check.equal(await("after name", 1)[1], { into = "after name", list = { 1, 2 } })
end)

case("without data a timer is given nil", function()
  ws.after(0, "bare")
  check.equal(await("bare", 1)[1], { n = 1 })
end)

case("data of any plain kind", function()
  local room = ws.room "r"
  for _, data in ipairs { 1, 1.5, "text", true, false, ws.json.null, room } do
    local got
    local came = false
    ws.after(0, function(given) got, came = given, true end, data)
    check.eventually(function() return came end)
    check.truthy(got == data, check.show(data))
  end
end)

case("data is copied at the call", function()
  local data = { into = "copied", n = 1, deep = { 1 } }
  ws.after(0, "note", data)
  data.n = 2
  data.deep[1] = 2
  local got = await("copied", 1)[1]
  check.equal(got, { into = "copied", n = 1, deep = { 1 } })
end)

case("circles and shared tables in data are kept as they are", function()
  local data = { into = "circle", one = {} }
  data.self, data.two = data, data.one
  ws.after(0, "note", data)
  local got = await("circle", 1)[1]
  check.truthy(got ~= data and got.self == got and got.one == got.two and got.one ~= data.one)
end)

case("data that is not plain raises, named by its path", function()
  check.misuse("on_hit", function() ws.after(0, "note", { a = { on_hit = print } }) end)
  check.misuse("metatable", function() ws.after(0, "note", { setmetatable({}, {}) }) end)
  check.misuse("function", function() ws.after(0, "note", print) end)
  check.misuse("coroutine", function() ws.after(0, "note", { coroutine.create(print) }) end)
  check.misuse("", function() ws.every(1, "note", { ws.limiter { rate = 1 } }) end)
end)

case("after always adds: two of one name are two", function()
  local a = ws.after(0, "note", { into = "two" })
  local b = ws.after(0, "note", { into = "two" })
  check.truthy(a ~= b)
  await("two", 2)
end)

case("timers fire in the order of their times, equal ones in the order of the calls", function()
  for _, at in ipairs { 0.6, 0.2, 0.4, 0, 0 } do -- far apart: these lines may take their time
    ws.after(at, function() hear("order", at) end)
  end
  check.equal(await("order", 5), { 0, 0, 0.2, 0.4, 0.6 })
end)

case("cancel: true, then nil; the timer never runs", function()
  local id = ws.after(0.02, "note", { into = "cancelled" })
  check.equal(ws.cancel(id), true)
  check.equal(ws.cancel(id), nil)
  ws.sleep(0.05)
  check.equal(count "cancelled", 0)
end)

case("cancel of one that has run, or never was, is nil", function()
  local id = ws.after(0, "note", { into = "has run" })
  await("has run", 1)
  check.equal(ws.cancel(id), nil)
  check.equal(ws.cancel(0), nil)
  check.equal(ws.cancel(-1), nil)
  check.equal(ws.cancel(1 << 60), nil)
end)

case("ids are never used again", function()
  local last = ws.after(60, "note", {})
  check.equal(ws.cancel(last), true)
  check.truthy(ws.after(0, function() end) > last)
end)

case("an id may be kept in state", function()
  local id = ws.after(60, "note", {})
  local kept = ws.json.decode(ws.json.encode { id = id })
  check.equal(ws.cancel(kept.id), true)
end)

case("every repeats until it is cancelled", function()
  local id = ws.every(0.005, "beat", { into = "repeats", what = 1 })
  check.equal(math.type(id), "integer")
  await("repeats", 3)
  check.equal(ws.cancel(id), true)
  local n = count "repeats"
  ws.sleep(0.03)
  check.equal(count "repeats", n)
  check.equal(ws.cancel(id), nil)
end)

case("every is one per name and key", function()
  local a = ws.every(60, "note", {})
  check.equal(ws.every(60, "note", {}), a)
  local b = ws.every(60, "note", {}, "key")
  check.truthy(b ~= a)
  check.equal(ws.every(60, "note", nil, "key"), b)
  local c = ws.every(60, "beat", {})
  check.truthy(c ~= a)
  local d = ws.every(60, "note", {}, 1)
  check.truthy(d ~= a and d ~= b)
  for _, id in ipairs { a, b, c, d } do
    check.equal(ws.cancel(id), true)
  end
end)

case("a conn is a key too", 2, function(a, b)
  local one = ws.every(60, "note", {}, a)
  local two = ws.every(60, "note", {}, b)
  check.truthy(one ~= two)
  check.equal(ws.every(60, "note", {}, ws.conn(a.id)), one)
  check.equal(ws.cancel(one), true)
  check.equal(ws.cancel(two), true)
end)

case("every with a function is one per function", function()
  local function tick() hear("every fn", 1) end
  local id = ws.every(0.005, tick)
  check.equal(ws.every(0.005, tick), id)
  local other = ws.every(60, function() end)
  check.truthy(other ~= id)
  await("every fn", 2)
  check.equal(ws.cancel(id), true)
  check.equal(ws.cancel(other), true)
end)

case("called again with the same period it keeps its beat and takes the new data", function()
  local id = ws.every(0.05, "beat", { into = "same", what = "old" })
  -- Asked for again and again, a beat that began anew each time would never come.
  check.eventually(function()
    check.equal(ws.every(0.05, "beat", { into = "same", what = "new" }), id)
    return count "same" >= 2
  end, "a beat")
  check.equal(ws.cancel(id), true)
  for _, what in ipairs(heard.same) do
    check.equal(what, "new")
  end
end)

case("called again with another period it starts anew", function()
  local id = ws.every(60, "beat", { into = "anew", what = 1 }, "anew")
  ws.every(0.005, "beat", { into = "anew", what = 2 }, "anew")
  check.equal(await("anew", 2)[1], 2)
  check.equal(ws.cancel(ws.every(0.005, "beat", { into = "anew" }, "anew")), true)
  check.equal(ws.cancel(id), nil)
end)

case("asked for again with longer periods it never fires", function()
  local id
  for i = 1, 10 do
    ws.every(0.01, "beat", { into = "longer" }, "longer")
    id = ws.every(60 + i, "beat", { into = "longer" }, "longer")
    ws.sleep(0.02)
  end
  check.equal(count "longer", 0)
  check.equal(ws.cancel(id), true)
end)

case("cancelled and asked for again it runs on", function()
  ws.cancel(ws.every(0.005, "beat", { into = "again", what = 1 }, "again"))
  local id = ws.every(0.005, "beat", { into = "again", what = 2 }, "again")
  check.equal(await("again", 2)[1], 2)
  check.equal(ws.cancel(id), true)
end)

case("begun anew in its own beat, it is the one of its name once that beat has ended", function()
  beats.old = ws.every(0.005, "begins_anew", { into = "own beat" })
  local ids = await("own beat", 2)
  check.equal({ ids[1], ids[2] }, { beats.old, beats.old }) -- one a name and key
  check.equal(ws.every(0.005, "begins_anew", { into = "own beat" }), ids[1])
  check.equal(ws.cancel(beats.old), true)
  check.equal(ws.cancel(beats.new), nil)
end)

case("a timer may cancel itself", function()
  beats.itself = ws.every(0.005, "cancels_itself", { into = "itself" })
  check.equal(await("itself", 1), { "true" })
  ws.sleep(0.03)
  check.equal(count "itself", 1)
end)

case("a timer never overlaps itself: a beat due while the last waits is skipped", function()
  local id = ws.every(0.01, "slow", { into = "overlap" })
  await("overlap", 6)
  check.equal(ws.cancel(id), true)
  for i, what in ipairs(heard.overlap) do
    check.equal(what, i % 2 == 1 and "begun" or "done", "event " .. i)
  end
end)

case("cancelled while its handler waits, that goes on to its end and is the last", function()
  local id = ws.every(0.005, "held", { into = "last" })
  await("last", 1)
  check.equal(ws.cancel(id), true)
  check.equal(ws.cancel(id), nil)
  beats.last = true
  await("last", 2)
  ws.sleep(0.03)
  check.equal(heard.last, { "begun", "done" })
end)

case("a timer that raises loses that beat only", function()
  local id = ws.every(0.005, "failing", { into = "failing" })
  await("failing", 3)
  check.equal(ws.cancel(id), true)
end)

case("a timer may start timers", function()
  ws.after(0, function()
    ws.after(0, function()
      ws.after(0, "note", { into = "nested" })
    end)
  end)
  await("nested", 1)
end)

case("many timers at once all run", function()
  for i = 1, 40 do
    ws.after(i % 3 / 1000, "note", { into = "many", i = i })
  end
  local sum = 0
  for _, data in ipairs(await("many", 40)) do
    sum = sum + data.i
  end
  check.equal(sum, 820)
end)

case("at the limit: nil and a message; a cancelled one makes room", function()
  local ids, message = {}, nil
  while not message do
    ids[#ids + 1], message = ws.after(60, "note", {})
  end
  check.truthy(#ids > 0 and #ids <= 50)
  check.truthy(type(message) == "string" and message:find "timers")
  check.refused("timers", ws.every(60, "note", {}))
  check.equal(ws.cancel(ids[1]), true)
  ids[1] = ws.after(60, "note", {})
  check.truthy(ids[1])
  for _, id in ipairs(ids) do
    ws.cancel(id)
  end
end)

case("misuse raises with the caller's line", function()
  check.misuse("no timer 'nobody'", function() ws.after(0, "nobody") end)
  check.misuse("no timer 'nobody'", function() ws.every(1, "nobody") end)
  check.misuse("every", function() ws.every(0.0009, "note") end)
  check.misuse("every", function() ws.every(0, "note") end)
  check.misuse("after", function() ws.after(-1, "note") end)
  check.misuse("after", function() ws.after(0 / 0, "note") end)
  check.misuse("after", function() ws.after(math.huge, "note") end)
  check.misuse("every", function() ws.every(0 / 0, "note") end)
  check.misuse("number expected", function() ws.after("soon", "note") end)
  check.misuse("name or function", function() ws.after(0) end)
  check.misuse("name or function", function() ws.after(0, 1) end)
  check.misuse("name or function", function() ws.every(1, {}) end)
  check.misuse("conn", function() ws.every(1, "note", {}, {}) end)
  check.misuse("expected", function() ws.cancel() end)
  check.misuse("expected", function() ws.cancel "x" end)
end)

case("the shortest period is 1 ms", function()
  local id = ws.every(0.001, "beat", { into = "shortest", what = 1 })
  await("shortest", 3)
  check.equal(ws.cancel(id), true)
end)

return case:script { timers = timers, limits = { timers = 50 } }
