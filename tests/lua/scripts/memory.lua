-- script_memory: what takes too much loses its event, and the script goes on.
local ws = require "ws"

local closes, hoard = 0, nil
local timers = {}
local orders = {}

function orders.string(n) return #("x"):rep(n) end

function orders.grow()
  local list = {}
  while true do
    list[#list + 1] = ("x"):rep(1000) .. #list
  end
end

function orders.grow_in_pcall()
  local ok, message = pcall(orders.grow)
  return tostring(ok) .. " " .. tostring(message)
end

function orders.rooms(n, conn)
  for i = 1, n do
    local ok, message = conn:join("room " .. i .. ("x"):rep(80), { info = ("y"):rep(1000) })
    if not ok then
      return message
    end
  end
end

function orders.timers(n)
  for i = 1, n do
    timers[i] = 0
    timers[i] = ws.after(60, "note", { i, ("x"):rep(1000) })
  end
end

function orders.waits()
  ws.sleep(0.01)
  orders.grow()
end

function orders.cancel()
  for i = #timers, 1, -1 do
    ws.cancel(timers[i])
    timers[i] = nil
  end
end

--- Keeps nearly all that it may. Less than that, and nothing has to rest.
function orders.keep(kib)
  local piece = ("x"):rep(1000)
  hoard = {}
  while collectgarbage "count" < kib do
    hoard[#hoard + 1] = piece .. #hoard
  end
end
function orders.let_go() hoard = nil end

--- What the connection does in its close.
function orders.mark(_, conn, what) conn.data.at_close = what end

--- Keeps little more than half of what it may, and leaves garbage enough to fill it many times.
function orders.churn()
  local piece, live = ("x"):rep(10000), {}
  for i = 1, 180 do
    live[i] = piece .. i
  end
  for _ = 1, 2000 do
    piece = ("y"):rep(20000) .. "z"
  end
  return #live .. " " .. #piece
end

--- Keeps what it takes, until nothing is left.
local function take_all()
  local piece = ("x"):rep(10000)
  hoard = {}
  while true do
    hoard[#hoard + 1] = piece .. #hoard
  end
end

return {
  limits = { script_memory = "3 MiB", conn_rooms = 128 },
  timers = { note = function() end },
  open = function(conn)
    conn.data.opened = true
    conn:join "memory"
  end,
  message = function(conn, text)
    local order, n = text:match "(%S+)%s*(%S*)"
    if orders[order] then
      local answer = orders[order](math.tointeger(n), conn, n)
      conn:send(tostring(answer))
    else
      conn:send(text)
    end
  end,
  close = function(conn)
    closes = closes + 1
    if conn.data.at_close == "take_all" then
      take_all()
    elseif conn.data.at_close == "let_go" then
      hoard = nil
    end
  end,
  request = function(req)
    if req.query.grow then
      orders.grow()
    end
    return 200,
      { closes = closes, members = ws.room("memory"):count(), kib = collectgarbage "count" }
  end,
}
