-- For the programs with many connections: broadcasts numbers while it is told to, and counts who
-- came, who went and how.

local ws = require "ws"

local crowd = {}

local opens, closes, codes, ends = 0, 0, {}, {} -- ends: how often `close` ran, by id
local number, beat, talk = 0, nil, nil
local heard, sent, first, last = {}, {}, {}, {} -- by conn

local function shout(size)
  number = number + 1
  for conn in pairs(first) do
    if conn.connected then
      last[conn] = number
    end
  end
  return ws.all:broadcast(("%d "):format(number) .. ("x"):rep(size))
end

function crowd.open(conn)
  opens = opens + 1
  first[conn], last[conn], heard[conn], sent[conn] = number + 1, number, 0, 0
end

-- Numbers of a client come back to it.
function crowd.message(conn, text)
  heard[conn] = heard[conn] + 1
  if conn:send("echo " .. text) then
    sent[conn] = sent[conn] + 1
  end
end

function crowd.close(conn, code)
  closes = closes + 1
  codes[tostring(code)] = (codes[tostring(code)] or 0) + 1
  ends[conn.id] = (ends[conn.id] or 0) + 1
  if talk then -- nobody can ask any more
    ws.log.info("ended", {
      id = conn.params.name, code = code, heard = heard[conn], sent = sent[conn],
      first = first[conn], last = last[conn],
    })
  end
  heard[conn], sent[conn], first[conn], last[conn] = nil, nil, nil, nil
end

local function most(counts)
  local n = 0
  for _, count in pairs(counts) do
    n = math.max(n, count)
  end
  return n
end

-- ?shout=SIZE once; ?every=SECONDS&size=SIZE until ?stop; ?talk to log each end.
function crowd.request(req)
  local query, addressed = req.query, nil
  if query.shout then
    addressed = shout(tonumber(query.shout))
  end
  if query.every then
    local size = tonumber(query.size)
    beat = ws.every(tonumber(query.every), function()
      shout(number % 25 == 0 and 16 * size or size)
    end)
  elseif query.stop and beat then
    ws.cancel(beat)
    beat = nil
  end
  talk = talk or query.talk
  return 200, {
    opens = opens, closes = closes, codes = codes, count = ws.all:count(), number = number,
    addressed = addressed, most_closes_of_one = most(ends),
  }
end

crowd.route = { "/crowd", "/crowd/:name" }

return crowd
