-- For order_and_ends: does what its peers ask for, numbers all that it sends, and keeps a journal
-- from which anyone can work out who had to hear what.

local ws = require "ws"

local order = {}

local number = 0
local journal = {}
local by_name = {} -- connections

local function keep(...)
  journal[#journal + 1] = { ... }
end

local function room_of(name)
  return name == "all" and ws.all or ws.room(name)
end

local steps = {}

function steps.send(_, _, to)
  number = number + 1
  keep("send", number, to)
  by_name[to]:send(tostring(number))
end

function steps.broadcast(_, _, room, except)
  number = number + 1
  local entry = { "broadcast", number, room, except or false }
  journal[#journal + 1] = entry
  entry[5] = room_of(room):broadcast(tostring(number), { except = except and by_name[except] })
end

function steps.join(conn, name, room)
  keep("join", number, room, name)
  conn:join(room)
end

function steps.leave(conn, name, room)
  keep("leave", number, room, name)
  conn:leave(room)
end

function steps.sleep(_, _, seconds)
  ws.sleep(seconds)
end

function order.open(conn, req)
  conn.data.name = req.query.name
  by_name[req.query.name] = conn
end

function order.message(conn, text)
  local name = conn.data.name
  for _, step in ipairs(ws.json.decode(text)) do
    steps[step[1]](conn, name, table.unpack(step, 2))
  end
  conn:send "done"
end

function order.request()
  return 200, journal
end

return order
