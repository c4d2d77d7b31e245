-- Members only, at /members: the WebSocket and the page behind it. Who may come in is asked in
-- `upgrade`, before there is a connection.

local ws = require "ws"
local denied = require "denied" -- lib/denied.lua: the page that asks for a token

-- The second route is for what lies below public/members/: without it, files there were anybody's.
local members = { route = { "/members", "/members/*" } }

local TOKENS = ws.config.tokens or {} -- by token: whose it is (perigee.lua)

local CHALLENGE = {
  ["content-type"] = "text/html; charset=utf-8",
  ["www-authenticate"] = 'Bearer realm="members"',
  ["cache-control"] = "no-store",
}

-- Programs send `Authorization: Bearer TOKEN`. A page can't do that for a WebSocket, so it says
-- `?token=TOKEN`.
local function whose(req)
  local token = req:bearer() or req.query.token
  return token and TOKENS[token]
end

function members.upgrade(req)
  local name = whose(req)
  if not name then
    ws.reject(401, denied, CHALLENGE)
  end
  return { data = { name = name } }
end

-- Plain HTTP: with a good token there is no value, and the file in public/members/ answers.
function members.request(req)
  if not whose(req) then
    return 401, denied, CHALLENGE
  end
end

function members.open(conn)
  conn:send { welcome = conn.data.name }
  ws.all:broadcast({ joined = conn.data.name }, { except = conn })
end

function members.message(conn, text)
  if utf8.len(text) then
    ws.all:broadcast { from = conn.data.name, text = text }
  end
end

function members.close(conn)
  ws.all:broadcast { left = conn.data.name }
end

return members
