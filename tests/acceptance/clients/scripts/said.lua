-- Served at /said: keeps the lines that a page posts, for whoever asks: {} until there are any.
local ws = require "ws"

local said = ws.json.array {}

---@type ws.Script
local script = {}

function script.request(req)
  if req.method == "POST" then
    said = ws.json.decode(req.body)
    return 204
  end
  local told = said
  said = ws.json.array {}
  return 200, told
end

return script
