-- What answers while the file runs, and ws.state. What happened then is kept for the cases.
local check = require "check"
local ws = require "ws"

local case = check.suite()
local early, order = {}, { "file" }

local function try(name, fn, ...)
  early[name] = table.pack(pcall(fn, ...))
end

local room, shared = ws.room "tea", ws.shared "news"
local score = ws.state("score", { red = 0, list = { 1, 2 }, room = room, none = ws.json.null })
local bare = ws.state "bare"
local again = {}
again.self, again.one, again.two = again, {}, nil
again.two = again.one
local circle = ws.state("circle", again)

try("limiter", function() return ws.limiter { rate = 1, per = 3600 }:allow "key" end)
try("log", function() ws.log.info("while loading", { n = 1 }) print "printed while loading" end)
try("json", function() return ws.json.decode(ws.json.encode { 1 })[1] end)
try("config", function() return ws.config end)
try("script", function() return ws.script.name end)
try("now", ws.now)
try("monotonic", ws.monotonic)
try("room equal", function() return room == ws.room "tea" and shared == ws.shared "news" end)
try("room name", function() return room.name .. " " .. tostring(shared.shared) end)
try("all", function() return ws.all end)

try("after", ws.after, 0, function() order[#order + 1] = "timer" end)
try("after name", ws.after, 0, "named", { n = 1 })
try("every", ws.every, 3600, "named", { n = 2 })
try("every again", ws.every, 3600, "named", { n = 3 })

local refused = {
  count = function() return room:count() end,
  members = function() return room:members() end,
  presence = function() return shared:presence() end,
  broadcast = function() return room:broadcast "text" end,
  ["all:broadcast"] = function() return ws.all:broadcast "text" end,
  close = function() return room:close(1000) end,
  conn = function() return ws.conn "id" end,
  sleep = function() return ws.sleep(0) end,
  cancel = function() return ws.cancel(1) end,
  reject = function() return ws.reject(403) end,
}
for name, fn in pairs(refused) do
  try(name, fn)
end

local touched = {
  read = function() return score.red end,
  write = function() score.red = 1 end,
  length = function() return #score end,
  pairs = function() return next(pairs(score)) end,
  bare = function() return bare.x end,
}
for name, fn in pairs(touched) do
  try(name, fn)
end
try("encode", ws.json.encode, score)

try("state twice", ws.state, "score", {})
try("state unnamed", ws.state)
try("state number", ws.state, 1)
try("state defaults", ws.state, "x", "text")
try("state function", ws.state, "f", { deep = { on_hit = print } })
try("state metatable", ws.state, "m", { setmetatable({}, {}) })
try("state coroutine", ws.state, "c", { coroutine.create(print) })

local defaults = { n = 1 }
local copied = ws.state("copied", defaults)
defaults.n = 2

local named = {}
local timers = {}
function timers.named(data)
  named[#named + 1] = data.n
end

local from_start

local function start(...)
  order[#order + 1] = "start"
  from_start = {
    arguments = table.pack(...),
    red = score.red,
    count = room:count(),
    all = ws.all:count(),
    id = ws.after(0, "named", { n = 9 }),
    cancelled = ws.cancel(early.every[2]),
  }
  score.red = 5
end

case("limiter, log, print, json, config, script, now and monotonic answer", function()
  check.equal(early.limiter, { true, true, n = 2 })
  check.equal(early.log, { true, n = 1 })
  check.equal(early.json, { true, 1, n = 2 })
  check.equal(early.config, { true, {}, n = 2 })
  check.equal(early.script, { true, "loading", n = 2 })
  check.equal(math.type(early.now[2]), "float")
  check.equal(math.type(early.monotonic[2]), "float")
end)

case("room, shared and all answer values", function()
  check.equal(early["room equal"], { true, true, n = 2 })
  check.equal(early["room name"], { true, "tea true", n = 2 })
  check.truthy(early.all[2] == ws.all)
end)

for name in pairs(refused) do
  case(name .. " raises: use start", function()
    local raised, message = not early[name][1], early[name][2]
    check.truthy(raised and message:find "loading%.lua:%d+: not while loading: use start", message)
  end)
end

case("timers are recorded and begin once it is loaded", function()
  check.eventually(function() return order[3] end, "the timer")
  check.equal(order, { "file", "start", "timer" })
  for _, name in ipairs { "after", "after name", "every", "every again" } do
    check.equal(math.type(early[name][2]), "integer", name)
  end
  check.equal(early.every[2], early["every again"][2])
  check.truthy(early.after[2] ~= early["after name"][2])
  check.eventually(function() return #named == 2 end, "named timers")
  table.sort(named)
  check.equal(named, { 1, 9 })
end)

case("start is given nil on a first load, and everything answers in it", function()
  check.equal(from_start.arguments, { n = 1 })
  check.equal(from_start.count, 0)
  check.equal(from_start.all, 0)
  check.equal(math.type(from_start.id), "integer")
  check.equal(from_start.cancelled, true)
end)

case("state is in place in start", function()
  check.equal(from_start.red, 0)
  check.equal(score.red, 5)
end)

for name in pairs(touched) do
  case("state touched before start raises: " .. name, function()
    check.equal(early[name][1], false)
    check.truthy(early[name][2]:find "before start", early[name][2])
  end)
end

case("state is no JSON before start", function()
  check.truthy(early.encode[1] == false or early.encode[2] ~= nil)
end)

case("state is a plain table afterwards", function()
  check.equal(getmetatable(score), nil)
  check.equal(score.list, { 1, 2 })
  check.truthy(score.room == room)
  check.truthy(score.none == ws.json.null)
  check.equal(bare, {})
  bare.x = 1
  check.equal(bare.x, 1)
end)

case("defaults are copied, circles and shared tables kept", function()
  check.equal(copied.n, 1)
  check.truthy(circle.self ~= again)
  check.truthy(circle.self.one == circle.one)
  check.truthy(circle.one == circle.two and circle.one ~= again.one)
end)

case("a name is declared once, with a string and a table", function()
  check.truthy(early["state twice"][2]:find "loading%.lua.*score" or
    early["state twice"][2]:find "declared", early["state twice"][2])
  for _, name in ipairs { "state twice", "state unnamed", "state number", "state defaults" } do
    check.equal(early[name][1], false, name)
  end
end)

case("defaults that are no plain data raise, named by their path", function()
  check.truthy(early["state function"][2]:find("deep.on_hit", 1, true))
  check.truthy(early["state metatable"][2]:find "metatable")
  check.truthy(early["state coroutine"][2]:find "coroutine")
end)

case("state belongs to loading: later it raises", function()
  check.misuse("loading", function() ws.state("late", {}) end)
end)

return case:script { start = start, timers = timers }
