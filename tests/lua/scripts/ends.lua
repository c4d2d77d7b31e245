-- Connections and how they end; what every handler sees of it.
local ws = require "ws"

local closes, seen, messages = {}, {}, {}
local orders = {}

local function try(fn, ...)
  local ok, value = pcall(fn, ...)
  return ok and (value == nil and "nil" or tostring(value)) or "raised"
end

--- nil is no value in a list of JSON's.
local function answer(value, why)
  return { value == nil and "nil" or value, why }
end

function orders.say_and_close(conn)
  conn:send "last words"
  conn:close(4002, "bye")
  conn:send "too late"
end

function orders.close_and_look(conn)
  conn:close(4003)
  seen = {
    connected = conn.connected,
    id = conn.id ~= nil,
    data = try(function() return conn.data end),
    params = try(function() return conn.params end),
    remote = try(function() return conn.remote end),
    buffered = try(function() return conn.buffered end),
    rooms = #conn:rooms(),
    in_room = ws.room("ends"):count(),
    all = ws.all:count(),
    found = ws.conn(conn.id) ~= nil,
    again = answer(conn:close()),
  }
end

function orders.broadcast_and_close(conn)
  ws.all:broadcast "before"
  conn:close(4004)
  ws.all:broadcast "after"
end

function orders.close_all()
  ws.all:close(4005, "everybody")
  ws.all:broadcast "nobody"
end

function orders.leave_while_iterating()
  local count = 0
  for _, member in ipairs(ws.room("ends"):members()) do
    for _, room in ipairs(member:rooms()) do
      member:leave(room)
    end
    count = count + 1
  end
  ws.all:broadcast(tostring(count) .. " left, " .. ws.room("ends"):count() .. " there")
end

return {
  route = { "/ends", "/ends/:seat" },
  open = function(conn, req)
    conn.data.name = req.query.name
    if req.query.open == "close" then
      conn:send "hello"
      conn:join "ends"
      conn:close(4001, "in open")
      conn:send "never"
      seen = { all = ws.all:count(), joined = (conn:join "more"), room = ws.room("ends"):count() }
    else
      seen = { all = ws.all:count(), me = ws.all:members()[ws.all:count()] == conn }
      conn:join("ends", { info = req.query.name })
      conn:join(ws.shared "ends shared")
    end
  end,
  message = function(conn, text)
    table.insert(messages, text)
    if orders[text] then
      orders[text](conn)
    else
      conn:send(text)
    end
  end,
  close = function(conn, code, reason)
    local rooms = {}
    for i, room in ipairs(conn:rooms()) do
      rooms[i] = room.name .. (room.shared and " (shared)" or "")
    end
    table.insert(closes, {
      name = conn.data.name,
      code = code,
      reason = reason,
      params = conn.params,
      remote = conn.remote,
      connected = conn.connected,
      id = conn.id,
      rooms = ws.json.array(rooms),
      here = ws.room("ends"):count(),
      all = ws.all:count(),
      send = answer(conn:send "in close"),
      join = answer(conn:join "in close"),
      close = answer(conn:close()),
    })
    ws.room("ends"):broadcast("left: " .. (conn.data.name or "?"))
  end,
  request = function(req)
    if req.query.reset then
      closes, seen, messages = {}, {}, {}
    end
    return 200, {
      closes = ws.json.array(closes),
      messages = ws.json.array(messages),
      seen = seen,
      all = ws.all:count(),
      here = ws.room("ends"):presence(),
    }
  end,
}
