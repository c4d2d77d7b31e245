-- conn: a value. Its fields and methods, and what answers after its end.
local check = require "check"
local ws = require "ws"

local case = check.suite()
local kept = ws.state("kept", { by_conn = {} })

--- A timer's data comes to `later` as a copy.
local timers = {}
local came = {}

function timers.later(data)
  came[#came + 1] = data
end

case("two handles of one connection are equal, and one key", 2, function(a, b)
  check.truthy(a ~= b)
  check.truthy(ws.conn(a.id) == a)
  check.truthy(rawequal(ws.conn(a.id), a))
  local seats = { [a] = 1, [b] = 2 }
  check.equal(seats[ws.conn(a.id)], 1)
  check.equal(seats[ws.conn(b.id)], 2)
end)

case("it may be kept in conn.data and in state", 2, function(a, b)
  a.data.partner = b
  kept.by_conn[a] = b
  check.truthy(a.data.partner == b)
  check.truthy(kept.by_conn[ws.conn(a.id)] == b)
  check.equal(a.data.partner:send "hello", "ok")
  kept.by_conn[a] = nil
  return { {}, { "hello" } }
end)

case("it may be a timer's data, as value and as key", 1, function(conn)
  check.truthy(ws.after(0, "later", { who = conn, by = { [conn] = true } }))
  check.eventually(function() return #came > 0 end, "the timer")
  local data = table.remove(came)
  check.truthy(data.who == conn and data.by[conn])
end)

case("id is a short string, the same each time", 2, function(a, b)
  check.equal(type(a.id), "string")
  check.truthy(#a.id > 0 and #a.id <= 32)
  check.equal(a.id, a.id)
  check.truthy(a.id ~= b.id)
  check.truthy(a.id:find "^%w+$")
end)

case("ws.conn finds a live one by its id", 2, function(a, b)
  check.truthy(ws.conn(a.id) == a)
  check.truthy(ws.conn(b.id) == b)
end)

case("ws.conn answers nil for what is no id", 1, function(conn)
  for _, id in ipairs { "", "x", conn.id .. "a", conn.id:sub(2), conn.id:upper(), "\0",
    ("a"):rep(16), ("7"):rep(16), ("\xff"):rep(16), ("x"):rep(1000) } do
    check.equal(ws.conn(id), nil, check.show(id))
  end
  for i = 1, #conn.id do
    local other = conn.id:sub(i, i) == "a" and "b" or "a"
    local id = conn.id:sub(1, i - 1) .. other .. conn.id:sub(i + 1)
    check.equal(ws.conn(id), nil, id)
  end
end)

case("tostring tells the id", 1, function(conn)
  check.truthy(tostring(conn):find(conn.id, 1, true))
end)

case("data is a table, made on first use, and stays", 2, function(a, b)
  check.equal(type(a.data), "table")
  check.truthy(a.data == a.data and a.data ~= b.data)
  a.data.x = 1
  check.equal(a.data, { x = 1 })
  check.equal(b.data, {})
end)

case("data may be assigned a table, nothing else", 1, function(conn)
  local mine = { y = 2 }
  conn.data = mine
  check.truthy(conn.data == mine)
  check.misuse("must be a table", function() conn.data = nil end)
  check.misuse("must be a table", function() conn.data = "text" end)
  check.truthy(conn.data == mine)
end)

case("other fields can't be set", 1, function(conn)
  for _, name in ipairs { "id", "remote", "connected", "send", "other" } do
    check.raises("conn." .. name, function() conn[name] = 1 end)
  end
  check.misuse("conn.name", function() conn.name = "Ann" end)
end)

case("fields: remote, connected, params, protocol, buffered, rtt", 1, function(conn)
  check.equal(conn.remote, "127.0.0.1")
  check.equal(conn.connected, true)
  check.equal(conn.params, {})
  check.equal(conn.protocol, nil)
  check.equal(math.type(conn.buffered), "integer")
  check.equal(conn.rtt, nil) -- no ping yet
  check.equal(conn.no_such, nil)
  check.equal(conn[1], nil)
end)

case("params is a copy: no handler can change another's", 1, function(conn)
  conn.params.extra = 1
  check.equal(conn.params.extra, nil)
end)

case("send answers ok and sends text, binary, JSON", 1, function(conn)
  check.equal({ conn:send "text" }, { "ok" })
  check.equal(conn:send("", "text"), "ok")
  check.equal(conn:send { a = 1 }, "ok")
  check.equal(conn:send {}, "ok")
  check.equal(conn:send(ws.json.array {}), "ok")
  check.equal(conn:send({ 1, 2 }, "text"), "ok")
  check.equal(conn:send "é\0🎈", "ok")
  return { { "text", "", '{"a":1}', "{}", "[]", "[1,2]", "é\0🎈" } }
end)

case("more than may be sent is too large, and not sent", 1, function(conn)
  check.refused("^too large$", conn:send(("x"):rep(3 << 20)))
  check.refused("^too large$", conn:send(("x"):rep(3 << 20), "binary"))
  check.equal(conn.connected, true)
  check.equal(conn:send "after", "ok")
  return { { "after" } }
end)

case("close says 1000 if not told, and what was sent before goes out", 1, function(conn)
  conn:send "last words"
  conn:close()
  return { { "last words", { closed = { 1000, "" } } } }
end)

case("close with code and reason", 2, function(a, b)
  a:close(3000)
  b:close(4999, "é ist zu")
  return { { { closed = { 3000, "" } } }, { { closed = { 4999, "é ist zu" } } } }
end)

case("only codes that may be sent", 1, function(conn)
  for _, code in ipairs { 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, -1, 1 << 40 } do
    check.raises("close code", conn.close, conn, code)
  end
  check.equal(conn.connected, true)
  check.misuse("1006", function() conn:close(1006) end)
end)

case("a code of each kind may be sent", 10, function(...)
  local codes = { 1000, 1001, 1002, 1003, 1007, 1011, 1012, 1014, 3000, 4999 }
  local expected = {}
  for i, conn in ipairs { ... } do
    conn:close(codes[i])
    expected[i] = { { closed = { codes[i], "" } } }
  end
  return expected
end)

case("a reason is UTF-8 of at most 123 bytes", 1, function(conn)
  check.misuse("123", function() conn:close(1000, ("x"):rep(124)) end)
  check.misuse("UTF%-8", function() conn:close(1000, "\xff") end)
  conn:close(1000, ("x"):rep(123))
  return { { { closed = { 1000, ("x"):rep(123) } } } }
end)

case("after its end methods answer nil, closed", 1, function(conn)
  conn:join "end"
  conn:close()
  check.refused("^closed$", conn:send "text")
  check.refused("^closed$", conn:send({}, "text"))
  check.refused("^closed$", conn:join "other")
  check.refused("^closed$", conn:leave "end")
  check.refused("^closed$", conn:close())
  check.refused("^closed$", conn:close(4000))
  check.equal(conn:rooms(), {})
  check.equal(ws.room("end"):count(), 0)
  return { { { closed = { 1000, "" } } } }
end)

case("after its end id and connected answer, other fields are nil", 1, function(conn)
  local id = conn.id
  conn.data.x = 1
  conn:close()
  check.equal(conn.id, id)
  check.equal(conn.connected, false)
  for _, name in ipairs { "data", "params", "protocol", "remote", "buffered", "rtt" } do
    check.equal(conn[name], nil, name)
  end
  check.equal(ws.conn(id), nil)
  check.misuse("closed", function() conn.data = {} end)
  check.truthy(tostring(conn):find(id, 1, true))
  check.equal(ws.json.encode { conn }, '["' .. id .. '"]')
end)

case("the same once it is gone for good", 1, function(conn)
  local id = conn.id
  conn:close()
  ws.sleep(0.05) -- the client answers the close
  check.equal(conn.id, id)
  check.equal(conn.connected, false)
  check.equal(conn.remote, nil)
  check.equal(conn.data, nil)
  check.equal(ws.conn(id), nil)
  check.refused("^closed$", conn:send "text")
  check.refused("^closed$", conn:close())
  check.equal(conn:rooms(), {})
end)

case("misuse raises after its end too", 1, function(conn)
  conn:close()
  check.misuse("UTF%-8", function() conn:send "\xff" end)
  check.misuse("string or table", function() conn:send(1) end)
  check.misuse("close code", function() conn:close(1) end)
end)

case("misuse raises with the caller's line", 1, function(conn)
  check.misuse("string or table", function() conn:send() end)
  check.misuse("string or table", function() conn:send(12) end)
  check.misuse("string or table", function() conn:send(true) end)
  check.misuse("string or table", function() conn:send(conn) end)
  check.misuse("kind", function() conn:send("x", "json") end)
  check.misuse("UTF%-8", function() conn:send "\xc3" end)
  check.misuse("UTF%-8", function() conn:send { "\xc3" } end)
  check.misuse("a function", function() conn:send { f = print } end)
  check.misuse("not finite", function() conn:send { 0 / 0 } end)
  check.misuse("conn expected", function() conn.send("x") end)
  check.misuse("conn expected", function() conn.close() end)
  check.misuse("number expected", function() conn:close("now") end)
  check.misuse("string expected", function() ws.conn() end)
  check.misuse("string expected", function() ws.conn {} end)
end)

return case:script { timers = timers }
