-- One of two scripts that share a room, see theirs.lua. It looks at the connections of both.
local ws = require "ws"
local room = ws.shared "both"
local strangers = {}

local function try(fn)
  local ok, value = pcall(fn)
  if not ok then
    return "raised: " .. tostring(value)
  end
  return value == nil and "nil" or value
end

local function look(conn)
  local is_stranger = not ws.conn(conn.id)
  return {
    id = conn.id,
    tostring = tostring(conn),
    remote = try(function() return conn.remote end),
    connected = try(function() return conn.connected end),
    data = try(function() return conn.data end),
    params = try(function() return conn.params end),
    set_data = try(function() conn.data = {} end),
    join = is_stranger and try(function() return conn:join(room) end),
    leave = is_stranger and try(function() return conn:leave(room) end),
    is_stranger = is_stranger,
  }
end

return {
  open = function(conn) conn:join(room, { info = "ours" }) end,
  message = function(conn, text) room:broadcast(text, { except = conn }) end,
  close = function() end,
  request = function(req)
    local seen = {}
    for i, conn in ipairs(room:members()) do
      seen[i] = look(conn)
      strangers[i] = conn
    end
    local result
    if req.query.send then
      result = { room:members()[tonumber(req.query.at)]:send(req.query.send) }
    elseif req.query.close then
      result = { room:members()[tonumber(req.query.at)]:close(4000, req.query.close) }
    elseif req.query.broadcast then
      result = { room:broadcast(req.query.broadcast) }
    end
    return 200, {
      seen = ws.json.array(seen),
      result = result,
      count = room:count(),
      all = ws.all:count(),
      own = ws.room("both"):count(),
      presence = ws.json.array(room:presence()),
      kept = strangers[1] and strangers[1].connected,
    }
  end,
}
