-- At /deep/inside: sections of perigee.lua and modules by the script's own path.
local ws = require "ws"
local beside = require "_beside"

return {
  request = function()
    return 200, { name = ws.script.name, config = ws.config, beside = beside.where }
  end,
}
