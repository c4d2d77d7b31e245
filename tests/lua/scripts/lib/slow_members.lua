-- Slow members. A connection is told apart by ?name; requests make the host send.
local ws = require "ws"

local by_name, closes, drains = {}, {}, {}

return {
  limits = { outbox_soft = 16384, outbox_hard = "256 KiB", message_bytes = "128 KiB" },
  open = function(conn, req)
    conn.data.name = req.query.name
    by_name[req.query.name] = conn
    conn:join "feed"
  end,
  message = function(conn, text) conn:send(text) end,
  drain = function(conn, missed) table.insert(drains, { conn.data.name, missed }) end,
  close = function(conn, code) table.insert(closes, { conn.data.name, code }) end,
  request = function(req)
    local q = req.query
    local size, times = math.tointeger(q.size or "1"), math.tointeger(q.times or "1")
    local answers = {}
    if q.reset then
      by_name, closes, drains = {}, {}, {}
    end
    for i = 1, times do
      local text = ("%06d"):format(i) .. ("x"):rep(size)
      local value, why
      if q.to then
        value, why = by_name[q.to]:send(text)
      elseif q.slow then
        value, why = ws.room("feed"):broadcast(text, {
          slow = q.slow ~= "default" and q.slow or nil,
          key = q.key,
        })
      end
      answers[i] = why or value or "none"
    end
    local buffered = {}
    for name, conn in pairs(by_name) do
      buffered[name] = conn.buffered
    end
    return 200, {
      answers = ws.json.array(answers),
      closes = ws.json.array(closes),
      drains = ws.json.array(drains),
      buffered = buffered,
      count = ws.room("feed"):count(),
    }
  end,
}
