-- What the soak talks to. It does what its clients ask for, and keeps a ledger of its own: how
-- often `open` and `close` ran for each of them, and the numbers of all that was addressed to it,
-- in order.
--
-- Clients name themselves: /soak/17. What they say begins with a letter, see `commands`; whatever
-- begins with "=", and an empty message, goes back as it came.

local ws = require "ws"

local soak = { route = { "/soak/:id", "/ledger" }, timers = {} }

-- Rooms that are named after their slow policy, and how their messages begin.
local LOSSY = { drop = "d", latest = "l" }
local ROOMS = { "all", "a", "b", "shared", "drop", "latest" } -- in which the beat speaks

local TEXT -- the filling, which the clients know too
do
  local parts = {}
  for i = 1, 12000 do
    parts[i] = i
  end
  TEXT = table.concat(parts, " ")
end

local number = 0 -- of what was said last; each broadcast and each `tell` has its own
local broadcasts, addressed = 0, 0
local opens, closes = 0, 0
local ledger = {} -- records by id
local here = {} -- by room: a record for each connection that is in it, as far as we know
local wrong = {} -- what did not hold in here

for _, name in ipairs(ROOMS) do
  here[name] = {}
end

local function room(name)
  if name == "all" then
    return ws.all
  end
  return name == "shared" and ws.shared("soak") or ws.room(name)
end

local function said(tag, size)
  return ("%s%d %d "):format(tag, number, size) .. TEXT:sub(1, size)
end

local function broadcast(name, size, except)
  number = number + 1
  local expected = 0
  for conn, record in pairs(here[name]) do
    if conn.connected and conn ~= except then
      expected = expected + 1
      local list = LOSSY[name] and record.maybe or record.sent
      list[#list + 1] = number
    end
  end
  local count = room(name):broadcast(said(LOSSY[name] or "B", size), {
    except = except,
    slow = LOSSY[name] and name,
    kind = number % 7 == 0 and "binary" or "text",
  })
  if count ~= expected then
    wrong[#wrong + 1] = ("broadcast %d to %s: %d addressed, %d were there"):format(
      number, name, count, expected
    )
  end
  broadcasts, addressed = broadcasts + 1, addressed + count
end

-- A direct send, numbered like broadcasts.
local function tell(conn, record, size)
  number = number + 1
  local mine = number
  if conn:send(said("B", size)) then
    record.sent[#record.sent + 1] = mine
  end
end

-- By a message's first letter; each with the rest of it, split at spaces.
local commands = {}

function commands.j(conn, record, name)
  if conn:join(room(name)) and name ~= "all" then
    here[name][conn] = record
  end
end

function commands.l(conn, _, name)
  if conn.connected then
    conn:leave(room(name))
    here[name][conn] = nil
  end
end

function commands.b(conn, _, name, size, except)
  broadcast(name, tonumber(size), except and conn)
end

function commands.s(conn, record, size)
  tell(conn, record, tonumber(size))
end

function commands.w(conn, record, ms)
  record.waited = true
  ws.sleep(tonumber(ms) / 1000)
  tell(conn, record, 10)
end

function commands.t(conn, record, ms)
  record.timer = ws.after(tonumber(ms) / 1000, function()
    tell(conn, record, 20)
  end)
end

-- Until it goes; asked for again, with another period.
function commands.n(conn, record, ms)
  record.nudge = ws.every(tonumber(ms) / 1000, "nudge", conn, conn.id)
end

function commands.c(conn, _, code)
  conn:close(tonumber(code), "as you wish")
end

commands["!"] = function()
  error("as you wish")
end

function soak.timers.nudge(conn)
  if conn.connected then
    tell(conn, conn.data.record, 30)
  end
end

function soak.timers.beat()
  local name = ROOMS[number % #ROOMS + 1]
  broadcast(name, number % 50 == 0 and 30000 or number % 3 * 600)
end

function soak.start()
  ws.every(0.05, "beat")
end

function soak.upgrade(req)
  local query = req.query
  if query.wait then
    ws.sleep(tonumber(query.wait) / 1000)
  end
  if query.reject then
    ws.reject(tonumber(query.reject), "as you wish")
  end
end

function soak.open(conn, req)
  local id, query = conn.params.id, req.query
  opens = opens + 1
  local record = ledger[id] or { opens = 0, closes = 0, code = 0, late = 0, sent = {}, maybe = {} }
  ledger[id] = record
  record.opens = record.opens + 1
  conn.data.record = record
  here.all[conn] = record
  if query.slow then
    record.waited = true
    ws.sleep(tonumber(query.slow) / 1000)
  end
  if query.raise then
    error("as you wish")
  end
  for name in (query.rooms or ""):gmatch("%a+") do
    commands.j(conn, record, name)
  end
end

function soak.message(conn, data, kind)
  local record = conn.data.record
  if data == "" or data:byte() == 61 then
    -- A client's Close frame ends it at once, also while messages from before wait for a handler.
    if not conn:send(data, kind) then
      record.late = record.late + 1
    end
    return
  end
  local words = {}
  for word in data:gmatch("%S+") do
    words[#words + 1] = word
  end
  commands[words[1]](conn, record, table.unpack(words, 2))
end

function soak.close(conn, code)
  closes = closes + 1
  local record = conn.data.record
  record.closes, record.code = record.closes + 1, code
  if record.timer and #record.sent % 2 == 0 then
    ws.cancel(record.timer) -- of the others some find nobody
  end
  if record.nudge then
    ws.cancel(record.nudge)
  end
  local was_in = {}
  for _, one in ipairs(conn:rooms()) do
    was_in[one.shared and "shared" or one.name] = true
  end
  for name, members in pairs(here) do
    if name ~= "all" and (members[conn] ~= nil) ~= (was_in[name] == true) then
      wrong[#wrong + 1] = ("%s: room %s at its end"):format(conn.params.id, name)
    end
    members[conn] = nil
  end
end

-- KiB that Lua needs: the least, while garbage is made of several times the heap.
local function live_kib()
  local least = collectgarbage("count")
  for i = 1, math.max(math.ceil(least) * 6, 4096) do -- a small heap waits for 1 MiB of it
    local _ = ("%d"):format(i):rep(1024 // #tostring(i))
    least = math.min(least, collectgarbage("count"))
  end
  return least
end

-- ?take: the records of those who have gone, which are then forgotten.
function soak.request(req)
  local lines = {
    ("stats live=%d opens=%d closes=%d broadcasts=%d addressed=%d number=%d lua=%.0f"):format(
      ws.all:count(), opens, closes, broadcasts, addressed, number, collectgarbage("count") * 1024
    ),
  }
  if req.query.take then
    for id, record in pairs(ledger) do
      lines[#lines + 1] = ("conn %s %d %d %d %d %s %s;%s"):format(
        id, record.opens, record.closes, record.code, record.late, record.waited or false,
        table.concat(record.sent, ","), table.concat(record.maybe, ",")
      )
    end
    for _, text in ipairs(wrong) do
      lines[#lines + 1] = "wrong " .. text
    end
    ledger, wrong = {}, {}
  end
  if req.query.lua then
    lines[#lines + 1] = ("lua %.1f"):format(live_kib())
  end
  return 200, table.concat(lines, "\n")
end

return soak
