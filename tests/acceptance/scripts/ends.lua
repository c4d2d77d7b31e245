-- For order_and_ends: does what its peers ask for, watches each of them from a timer, and keeps a
-- record of what it saw of their ends.

local ws = require "ws"

local ends = {
  route = "/ends/:case",
  limits = { message_bytes = 16384, fragments = 8, outbox_soft = 65536, outbox_hard = 262144 },
}

local opens, closes = 0, 0
local loads = 0 -- numbers what goes to the room "load"
local upgrades = { seen = 0, wrong = 0 }
local records, by_name, by_conn = {}, {}, {}

local function note(record, what, fields)
  fields = fields or {}
  fields.what = what
  record.log[#record.log + 1] = fields
  return fields
end

local function set_of(list, key)
  local set = {}
  for _, item in ipairs(list) do
    set[key and item[key] or item] = true
  end
  return set
end

local function names_of(rooms)
  local names = ws.json.array {}
  for i, room in ipairs(rooms) do
    names[i] = room.name
  end
  return names
end

-- What can be asked of a connection that has ended: each answer that is not as it must be.
local function after_end(conn, record, wrong)
  local function must(holds, what)
    if not holds then
      wrong[#wrong + 1] = what
    end
  end
  local own = ws.room("own:" .. record.name)
  local sent, why_not_sent = conn:send "late"
  local joined, why_not_joined = conn:join "late"
  must(conn.connected == false, "connected is not false")
  must(not set_of(ws.all:members())[conn], "in ws.all:members()")
  must(not set_of(ws.room("lobby"):members())[conn], "in room:members()")
  must(not set_of(ws.room("lobby"):presence(), "id")[record.id], "in room:presence()")
  must(not set_of(ws.shared("all"):members())[conn], "in the members of a shared room")
  must(own:count() == 0, "in room:count()")
  must(own:broadcast "late" == 0, "in room:broadcast()")
  must(sent == nil and why_not_sent == "closed", "send does not answer nil, closed")
  must(joined == nil and why_not_joined == "closed", "join does not answer nil, closed")
  return wrong
end

-- What peers ask for

local acts = {}

function acts.note(conn, record, act)
  record.notes[#record.notes + 1] = act.n
  record.connected_notes = record.connected_notes + (conn.connected and 1 or 0)
end

function acts.sleep(conn, record, act)
  record.waiting = true
  ws.sleep(act.seconds)
  record.waiting = false
  local wrong = {}
  if act.ends then
    after_end(conn, record, wrong)
  end
  note(record, "woke", { wrong = ws.json.array(wrong), rooms = #conn:rooms() })
end

function acts.close(conn, record, act)
  for i = 1, act.times or 0 do
    conn:send { said = i, fill = ("x"):rep(act.size or 0) }
  end
  if act.times then
    ws.room("own:" .. record.name):broadcast { said = act.times + 1 }
  end
  conn:close(act.code, act.reason)
  note(record, "closed", { wrong = ws.json.array(after_end(conn, record, {})) })
end

function acts.kick(_, _, act)
  local conn, record = by_name[act.name], records[act.name]
  conn:close(act.code, act.reason)
  note(record, "closed", { wrong = ws.json.array(after_end(conn, record, {})) })
end

-- Broadcasts to one that does not read, until it is too much.
function acts.flood(_, _, act)
  local conn, room = by_name[act.name], ws.room("own:" .. act.name)
  while conn.connected do
    for _ = 1, 4 do
      room:broadcast(("x"):rep(16000))
    end
    ws.sleep(0.001)
  end
end

function acts.load(_, _, act)
  loads = loads + 1
  ws.room("load"):broadcast { load = loads, from = act.from }
end

-- Handlers

function ends.upgrade()
  if closes == 0 then
    upgrades.seen = upgrades.seen + 1
    if ws.all:count() ~= opens then
      upgrades.wrong = upgrades.wrong + 1
    end
  end
end

function ends.open(conn, req)
  opens = opens + 1
  local name = req.query.name
  local record = records[name]
    or { name = name, opens = 0, closes = 0, beats = 0, beats_ended = 0, beats_in_wait = 0,
         connected_notes = 0, log = {}, notes = ws.json.array {}, wrong = ws.json.array {} }
  records[name], by_name[name], by_conn[conn] = record, conn, record
  record.id = conn.id
  record.opens = record.opens + 1
  conn.data = { name = name }

  note(record, "open", {
    in_all = set_of(ws.all:members())[conn] or false,
    counted = closes > 0 or ws.all:count() == opens,
    hears_all = ws.all:broadcast { opened = name } == ws.all:count(),
  })
  conn:join("lobby", { info = { name = name } })
  conn:join("own:" .. name)
  conn:join(ws.shared "all")
  conn:join "left"
  conn:leave "left"
  if conn.params.case == "load" then
    conn:join "load"
    conn:send { load = loads }
  end
  conn:send { ready = name }
end

function ends.message(conn, text)
  local act = ws.json.decode(text)
  acts[act["do"]](conn, by_conn[conn], act)
end

function ends.close(conn, code, reason)
  closes = closes + 1
  local record = by_conn[conn]
  record.closes = record.closes + 1
  local rooms, wrong = names_of(conn:rooms()), {}
  table.sort(rooms)
  after_end(conn, record, wrong)
  note(record, "close", {
    code = code, reason = reason, connected = conn.connected, same_id = conn.id == record.id,
    data = conn.data and conn.data.name, case = conn.params and conn.params.case,
    remote = conn.remote, rooms = rooms, wrong = ws.json.array(wrong),
  })
  if code == 1001 then -- nobody can ask any more
    ws.log.info("drained", { record = ws.json.encode(record) })
  end
end

-- Between any two events a connection is there in every respect, or in none.
local function watch()
  local all = set_of(ws.all:members())
  local lobby = set_of(ws.room("lobby"):members())
  local present = set_of(ws.room("lobby"):presence(), "id")
  local shared = set_of(ws.shared("all"):members())
  for conn, record in pairs(by_conn) do
    local there = {
      all[conn] or false, lobby[conn] or false, present[record.id] or false, shared[conn] or false,
      ws.room("own:" .. record.name):count() == 1,
    }
    for i, is_there in ipairs(there) do
      if is_there ~= conn.connected and #record.wrong < 5 then
        record.wrong[#record.wrong + 1] = ("connected is %s, membership %d is %s")
          :format(conn.connected, i, is_there)
      end
    end
    record.beats = record.beats + 1
    if not conn.connected then
      if record.beats_ended < 3 then
        after_end(conn, record, record.wrong)
      end
      record.beats_ended = record.beats_ended + 1
      if record.waiting then
        record.beats_in_wait = record.beats_in_wait + 1
      end
    end
  end
end

function ends.start()
  ws.every(0.02, watch)
end

-- What was seen: of all, or with ?name= of one.
function ends.request(req)
  if req.query.name then
    return 200, records[req.query.name] or {}
  end
  return 200, {
    records = records, opens = opens, closes = closes, count = ws.all:count(),
    upgrades = upgrades,
  }
end

return ends
