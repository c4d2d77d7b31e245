-- Handlers that raise, in every way, and what that costs. The path says how.
local ws = require "ws"

local objects = {
  string = "plain text",
  number = 42,
  ["false"] = false,
  table = { code = 7 },
  tostring = setmetatable({}, { __tostring = function() return "told by __tostring" end }),
  tostring_raises = setmetatable({}, { __tostring = function() error "in __tostring" end }),
  tostring_number = setmetatable({}, { __tostring = function() return 1 end }),
  name_only = setmetatable({}, { __name = "my.type" }),
  fn = print,
  coroutine = coroutine.create(print),
  newline = "line one\nlevel=error msg=forged",
  escape = "\27[31mred\0\xff",
  null = ws.json.null,
  room = ws.all,
  long = ("x"):rep(100000),
}

local ways = {}
for name, object in pairs(objects) do
  ways[name] = function() error(object) end
end

function ways.missing() return ws.no_such.field end
function ways.index() local x = nil return x.y end
function ways.arithmetic() return {} + 1 end
function ways.error_nil() error() end
function ways.overflow() local function f() return 1 + f() end return f() end
function ways.wrapped() coroutine.wrap(function() error "inside" end)() end
function ways.waits() ws.sleep(0.01) error "after a wait" end
function ways.in_pcall() pcall(ws.sleep, 0.01) error "after a pcall" end
function ways.memory() return ("x"):rep(1 << 40) end
function ways.level_0() error("no place", 0) end
function ways.yields() coroutine.yield() end

local closes = {}
local drained = 0

return {
  route = { "/errors", "/errors/:handler/:way" },
  upgrade = function(req)
    if req.params.handler == "upgrade" then
      ways[req.params.way]()
    end
    return { data = { handler = req.params.handler, way = req.params.way } }
  end,
  open = function(conn)
    conn:join "errors"
    if conn.data.handler == "open" then
      conn:send "before"
      ways[conn.data.way]()
    end
  end,
  message = function(conn, text)
    if text == "raise" then
      ways[conn.data.way]()
    end
    conn:send(text)
  end,
  drain = function()
    drained = drained + 1
    error "in drain"
  end,
  close = function(conn, code, reason)
    table.insert(closes, { conn.data.way or "", code, reason, #conn:rooms() })
    if conn.data.handler == "close" then
      ways[conn.data.way]()
    end
  end,
  request = function(req)
    if req.params.handler == "request" then
      ways[req.params.way]()
    end
    if req.query.timer then
      ws.after(0, ways[req.query.timer])
    end
    local said = closes
    if req.query.reset then
      closes = {}
    end
    return 200,
      { closes = ws.json.array(said), here = ws.room("errors"):count(), drained = drained }
  end,
}
