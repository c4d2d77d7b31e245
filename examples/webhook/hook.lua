-- POST /hook with a token and { "text": "..." }: everybody at /news hears it (news.lua). Any
-- program can say something to people with one HTTP request.

local ws = require "ws"

local hook = { limits = { body_bytes = 8 * 1024 } }

-- Without a token this does not load, and /hook answers 503: better than to let anybody in.
local TOKEN = assert(ws.config.token, "set scripts.hook.token in perigee.lua")

local news = ws.shared "news" -- a room of the whole host: its members come from another script

function hook.request(req)
  if req.method ~= "POST" then
    return 405, "POST only", { allow = "POST" }
  end
  if req:bearer() ~= TOKEN then
    return 401, "wrong token", { ["www-authenticate"] = "Bearer" }
  end
  local order = ws.json.decode(req.body)
  if type(order) ~= "table" or type(order.text) ~= "string" then
    return 400, [[the body is JSON, as in {"text": "hello"}]]
  end
  return 200, { heard_by = news:broadcast { text = order.text, at = ws.now() } }
end

return hook
