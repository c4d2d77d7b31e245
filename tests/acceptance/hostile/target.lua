-- For attacks_go_unnoticed: an echo that everybody may attack, a tick for the innocent, and a feed
-- for those that do not read it.

local ws = require "ws"

local target = {}

local codes = {} -- of the attackers' ends
local tick = 0
local padding = "" -- of a tick
local key = 0

local function beat()
  tick = tick + 1
  ws.room("innocent"):broadcast("tick " .. tick .. padding)
end

-- For the feed: text that hardly gets shorter when it is compressed.
local noise = {}
for i = 1, 64 * 1024 do
  noise[i] = string.char(math.random(32, 126))
end
noise = table.concat(noise)

function target.open(conn, req)
  conn.data.innocent = req.query.innocent ~= nil
  if conn.data.innocent then
    conn:join "innocent"
    padding = (" and"):rep(tonumber(req.query.padding or "0"))
    ws.every(0.005, beat)
  elseif req.query.feed then
    conn:join "feed"
  end
end

function target.message(conn, data, kind)
  conn:send(data, kind)
end

function target.close(conn, code)
  if not conn.data.innocent then
    codes[tostring(code)] = (codes[tostring(code)] or 0) + 1
  end
end

-- ?feed=COUNT&size=SIZE broadcasts so much noise, &latest&keys=COUNT under so many keys in turn;
-- ?body=SIZE answers that much.
function target.request(req)
  local query = req.query
  if query.body then
    return 200, ("x"):rep(tonumber(query.body))
  end
  local feed = ws.room "feed"
  for _ = 1, tonumber(query.feed or "0") do
    key = key % tonumber(query.keys or "1") + 1
    feed:broadcast(noise:sub(1, tonumber(query.size)), query.latest and
      { slow = "latest", key = tostring(key) })
  end
  return 200, { codes = codes, count = ws.all:count(), feed = feed:count(), body = #req.body }
end

return target
