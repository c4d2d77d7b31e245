-- For waiting_handler_lives: a handler that waits long, and a timer that watches meanwhile.

local ws = require "ws"

local waits = {}

local records = {}

local function seconds_since(record)
  return ws.monotonic() - record.from
end

-- The first message waits; whatever comes later is kept in order.
function waits.message(conn, text)
  local record = records[conn]
  local seconds = tonumber(text:match "^wait (%S+)$")
  if not seconds then
    record.heard[#record.heard + 1] = text
    return
  end
  record.from = ws.monotonic()
  record.waiting = true
  ws.sleep(seconds)
  record.waiting = false
  record.woke_s = seconds_since(record)
  record.sent, record.sent_why = conn:send "awake"
  record.closes_at_wake = record.closes
  record.connected_at_wake = conn.connected
end

function waits.open(conn, req)
  conn:join "room"
  records[conn] = {
    name = req.query.name, heard = ws.json.array {}, closes = 0, members = ws.room("room"):count(),
  }
end

function waits.close(conn, code)
  local record = records[conn]
  record.closes, record.code = record.closes + 1, code
end

local function watch()
  local members = ws.room("room"):count()
  for conn, record in pairs(records) do
    if not conn.connected and record.waiting and not record.noticed_s then
      record.noticed_s = seconds_since(record)
      record.members = members
    end
    record.rtt = conn.rtt or record.rtt
  end
end

function waits.start()
  ws.every(0.05, watch)
end

function waits.request()
  local by_name = {}
  for _, record in pairs(records) do
    by_name[record.name] = record
  end
  return 200, by_name
end

return waits
