-- A lobby at /lobby/GAME: people who wait for the same game are put together in pairs. A pair's
-- words ({ "text": "hi" }) go from one to the other. Who waits for too long is told so, and may ask
-- again ({ "again": true }).

local ws = require "ws"

local lobby = { route = "/lobby/:game", timers = {} }

local WAIT_S = ws.config.wait_s or 20 -- how long somebody waits for a partner
local NAME_LENGTH = 24
local TEXT_LENGTH = 500

-- By game: who waits for it. One at most, since two would be a pair.
local waiting = ws.state("waiting", {})

local function stop_waiting(conn)
  waiting[conn.params.game] = nil
  ws.cancel(conn.data.timer)
end

local function pair(one, other)
  one.data.partner, other.data.partner = other, one
  one:send { type = "paired", with = other.data.name }
  other:send { type = "paired", with = one.data.name }
end

local function seek(conn)
  local game = conn.params.game
  local other = waiting[game]
  if other then
    stop_waiting(other)
    return pair(other, conn)
  end
  waiting[game] = conn
  conn.data.timer = ws.after(WAIT_S, "give_up", conn)
  conn:send { type = "waiting", seconds = WAIT_S }
end

function lobby.timers.give_up(conn)
  waiting[conn.params.game] = nil
  conn:send { type = "nobody" }
end

local function name_from(text)
  local length = text and utf8.len(text)
  local good = length and length <= NAME_LENGTH and text:find("%S") and not text:find("%c")
  return good and text or "somebody"
end

function lobby.open(conn, req)
  conn.data.name = name_from(req.query.name)
  seek(conn)
end

function lobby.message(conn, text)
  local order = ws.json.decode(text)
  if type(order) ~= "table" then
    return conn:close(4400, "messages are JSON objects")
  end
  local partner = conn.data.partner
  if partner then
    local said = order.text
    if type(said) == "string" and utf8.len(said) <= TEXT_LENGTH then
      partner:send { type = "said", text = said }
    end
  elseif order.again and waiting[conn.params.game] ~= conn then
    seek(conn)
  end
end

-- Who is left behind by a partner goes back to waiting.
function lobby.close(conn)
  local partner = conn.data.partner
  if partner then
    partner.data.partner = nil
    partner:send { type = "left" }
    seek(partner)
  elseif waiting[conn.params.game] == conn then
    stop_waiting(conn)
  end
end

return lobby
