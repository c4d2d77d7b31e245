-- Handlers that wait, with connections: the order of events, and ends during a wait.
local ws = require "ws"

local closes, notes = {}, {}
local waiting = {} -- name -> conn whose handler waits for `go`
local gone = {}

local function note(...)
  notes[#notes + 1] = table.concat({ ... }, " ")
end

--- Waits until a request says so: no test depends on how long a sleep is.
local function await(name)
  while not gone[name] do
    ws.sleep(0.01)
  end
end

local orders = {}

function orders.wait(conn)
  waiting[conn.data.name] = conn
  note(conn.data.name, "waits")
  await(conn.data.name)
  note(conn.data.name, "goes on")
  return conn:send "waited"
end

--- Looks at its connection before and after the wait, and says what it saw in the notes.
function orders.look(conn)
  conn.data.mine = "mine"
  conn:join "looked"
  waiting[conn.data.name] = conn
  await(conn.data.name)
  local sent, why = conn:send "after"
  local joined, why_not = conn:join "late"
  note("connected", tostring(conn.connected))
  note("send", tostring(sent), why)
  note("join", tostring(joined), why_not)
  note("rooms", #conn:rooms())
  note("count", ws.room("looked"):count(), ws.all:count())
end

function orders.wait_and_raise(conn)
  await(conn.data.name)
  error "after the wait"
end

function orders.wait_and_close(conn)
  await(conn.data.name)
  conn:close(4007, "enough")
end

local open_waits = { open = true }

return {
  open = function(conn, req)
    conn.data.name = req.query.name or ""
    if open_waits[req.query.wait] then
      note("open", req.query.name)
      await(conn.data.name)
      note("opened", req.path)
      conn:send "opened"
    end
  end,
  message = function(conn, text)
    note(conn.data.name, text)
    if orders[text] then
      orders[text](conn)
    else
      conn:send(text)
    end
  end,
  close = function(conn, code, reason)
    if conn.data.name == "slow close" then
      conn:join "late"
      note("closing", tostring(conn.connected))
      await "slow close"
    end
    table.insert(closes, { conn.data.name, code, reason, conn.remote, conn.data.mine })
    note("close", conn.data.name)
  end,
  request = function(req)
    if req.query.go then
      gone[req.query.go] = true
    end
    if req.query.reset then
      closes, notes, waiting, gone = {}, {}, {}, {}
    end
    if req.query.close then
      waiting[req.query.close]:close(4001, "from outside")
    end
    local names = {}
    for name, conn in pairs(waiting) do
      names[name] = conn.connected
    end
    return 200, {
      closes = ws.json.array(closes),
      notes = ws.json.array(notes),
      waiting = names,
      all = ws.all:count(),
      looked = ws.room("looked"):count(),
    }
  end,
}
