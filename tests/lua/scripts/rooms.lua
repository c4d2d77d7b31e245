-- Rooms: membership, order, presence, broadcasts and their options.
local check = require "check"
local ws = require "ws"

local case = check.suite()
local names = 0

--- A room that no other case has.
local function fresh()
  names = names + 1
  return ws.room("fresh " .. names)
end

local function join_all(room, ...)
  for _, conn in ipairs { ... } do
    check.equal(conn:join(room), true)
  end
end

case("a room needs no creating: it is empty", function()
  local room = fresh()
  check.equal(room:count(), 0)
  check.equal(room:members(), {})
  check.equal(room:presence(), {})
  check.equal(room:broadcast "to nobody", 0)
  check.equal(room.shared, false)
end)

case("the same name gives an equal room, another name another", function()
  check.truthy(ws.room "a" == ws.room "a")
  check.truthy(ws.room "a" ~= ws.room "b")
  check.truthy(ws.shared "a" == ws.shared "a")
  check.truthy(ws.room "a" ~= ws.shared "a")
  check.truthy(ws.all == ws.all and ws.all ~= ws.room "")
end)

case("a room value works as a table's key while it is held", function()
  local room = fresh()
  local seats = { [room] = 4 }
  check.equal(seats[ws.room(room.name)], 4)
end)

case("name and shared", function()
  check.equal(ws.room("tea time").name, "tea time")
  check.equal(ws.shared("news").name, "news")
  check.equal(ws.shared("news").shared, true)
  check.equal(ws.room("news").shared, false)
  check.equal(ws.all.shared, false)
end)

case("a name may hold any bytes, the empty one too", 1, function(conn)
  for _, name in ipairs { "", "\0", "a\0b", "a\nb", "\xff\xfe", "/", "shared:x", "漢字" } do
    check.equal(conn:join(name), true, check.show(name))
    check.equal(ws.room(name).name, name)
    check.equal(ws.room(name):count(), 1, check.show(name))
    check.equal(ws.shared(name):count(), 0, check.show(name))
    check.equal(conn:leave(name), true)
  end
end)

case("a room tells its name as text", function()
  check.truthy(tostring(ws.room "tea"):find "tea")
  check.truthy(tostring(ws.all):find "all")
end)

case("join by name and by value are one", 1, function(conn)
  local room = fresh()
  check.equal(conn:join(room.name), true)
  check.equal(conn:join(room), true)
  check.equal(room:count(), 1)
  check.equal(conn:leave(room), true)
  check.equal(room:count(), 0)
end)

case("members in the order of their joins", 3, function(a, b, c)
  local room = fresh()
  join_all(room, b, c, a)
  check.equal(room:members(), { b, c, a })
  check.equal(room:count(), 3)
  c:leave(room)
  check.equal(room:members(), { b, a })
  join_all(room, c)
  check.equal(room:members(), { b, a, c })
end)

case("joining again keeps the place", 2, function(a, b)
  local room = fresh()
  join_all(room, a, b, a)
  check.equal(room:members(), { a, b })
end)

case("members is a new list: the room may change while one walks through it", 3,
  function(a, b, c)
    local room = fresh()
    join_all(room, a, b, c)
    check.truthy(room:members() ~= room:members())
    local seen = {}
    for _, conn in ipairs(room:members()) do
      conn:leave(room)
      seen[#seen + 1] = conn
    end
    check.equal(seen, { a, b, c })
    check.equal(room:count(), 0)
  end)

case("leave answers nil for one that is no member", 1, function(conn)
  local room = fresh()
  check.equal((conn:leave(room)), nil)
  check.equal((conn:leave(room.name)), nil)
end)

case("rooms lists room values, without all", 1, function(conn)
  check.equal(conn:rooms(), {})
  local one, two = fresh(), ws.shared "rooms lists"
  join_all(one, conn)
  join_all(two, conn)
  local rooms = conn:rooms()
  check.equal(#rooms, 2)
  check.truthy(rooms[1] == one and rooms[2] == two)
  check.equal(rooms[2].shared, true)
  conn:leave(one)
  check.equal(#conn:rooms(), 1)
end)

case("presence: id and info in the order of the joins", 3, function(a, b, c)
  local room = fresh()
  check.equal(b:join(room, { info = { name = "Bo", tags = { "x" } } }), true)
  check.equal(a:join(room), true)
  check.equal(c:join(room, { info = "plain" }), true)
  check.equal(room:presence(), {
    { id = b.id, info = { name = "Bo", tags = { "x" } } },
    { id = a.id },
    { id = c.id, info = "plain" },
  })
end)

case("joining again replaces the info and keeps the place", 2, function(a, b)
  local room = fresh()
  a:join(room, { info = { n = 1 } })
  b:join(room, { info = { n = 2 } })
  a:join(room, { info = { n = 3, more = true } })
  check.equal(room:presence(), {
    { id = a.id, info = { n = 3, more = true } },
    { id = b.id, info = { n = 2 } },
  })
end)

case("info is copied at the join, and out of presence", 1, function(conn)
  local room = fresh()
  local info = { name = "before" }
  conn:join(room, { info = info })
  info.name = "after"
  check.equal(room:presence()[1].info.name, "before")
  room:presence()[1].info.name = "changed"
  check.equal(room:presence()[1].info.name, "before")
end)

case("info of 1 KiB as JSON fits, more raises and does not join", 1, function(conn)
  local room = fresh()
  check.equal(conn:join(room, { info = ("x"):rep(1022) }), true)
  local other = fresh()
  check.raises("1024", conn.join, conn, other, { info = ("x"):rep(1023) })
  check.equal(other:count(), 0)
  check.raises("1024", conn.join, conn, room, { info = ("x"):rep(2000) })
  check.equal(#room:presence()[1].info, 1022)
end)

case("info that is no JSON data raises", 1, function(conn)
  local room = fresh()
  check.raises("a function", conn.join, conn, room, { info = { f = print } })
  check.equal(room:count(), 0)
end)

case("conn_rooms: over it, nil and a message", 1, function(conn)
  for i = 1, 6 do
    check.equal(conn:join("limit " .. i), true)
  end
  check.refused("conn_rooms", conn:join "limit 7")
  check.equal(conn:join "limit 3", true) -- where it is already
  check.equal(#conn:rooms(), 6)
  conn:leave "limit 1"
  check.equal(conn:join "limit 7", true)
end)

case("rooms: over it, nil and a message; an empty room is none", 4, function(a, b, c, d)
  check.equal(ws.room("count 1"):count(), 0)
  local conns, joined, why = { a, b, c, d }, 0, nil
  for i = 1, 24 do
    local ok, message = conns[(i - 1) % 4 + 1]:join("count " .. i)
    joined = joined + (ok and 1 or 0)
    why = why or message
  end
  check.equal(joined, 20)
  check.truthy(type(why) == "string" and why:find "rooms", "the message")
  check.equal(d:join "count 1", true) -- one that is there
  check.equal(a:leave "count 5", true)
  check.equal(b:join "another", true)
end)

case("room_name_bytes: over it, nil and a message", 1, function(conn)
  check.equal(conn:join(("n"):rep(100)), true)
  check.refused("room_name_bytes", conn:join(("n"):rep(101)))
  check.equal(ws.room(("n"):rep(101)):count(), 0)
end)

case("broadcast goes to every member and answers how many", 3, function(a, b, c)
  local room = fresh()
  join_all(room, a, b)
  check.equal(room:broadcast "hello", 2)
  check.equal(c.connected, true)
  return { { "hello" }, { "hello" }, {} }
end)

case("a string goes as text, a table as JSON, kind binary as bytes", 1, function(conn)
  local room = fresh()
  join_all(room, conn)
  room:broadcast "text"
  room:broadcast { a = 1 }
  room:broadcast {}
  room:broadcast { 1, 2 }
  room:broadcast("text", { kind = "text" })
  room:broadcast({ conn }, {})
  return { { "text", '{"a":1}', "{}", "[1,2]", "text", '["' .. conn.id .. '"]' } }
end)

case("except: one conn or a list, members or not", 3, function(a, b, c)
  local room = fresh()
  join_all(room, a, b)
  check.equal(room:broadcast("1", { except = a }), 1)
  check.equal(room:broadcast("2", { except = { a, b } }), 0)
  check.equal(room:broadcast("3", { except = {} }), 2)
  check.equal(room:broadcast("4", { except = c }), 2)
  check.equal(room:broadcast("5", { except = { c, b, b } }), 1)
  return { { "3", "4", "5" }, { "1", "3", "4" }, {} }
end)

case("all holds every connection of the script without a join", 2, function(a, b)
  local members = ws.all:members()
  check.equal(#members, ws.all:count())
  local found = 0
  for _, conn in ipairs(members) do
    found = found + ((conn == a or conn == b) and 1 or 0)
  end
  check.equal(found, 2)
  check.equal(#ws.all:presence(), #members)
  check.equal(ws.all:broadcast("to all"), #members)
  return { { "to all" }, { "to all" } }
end)

case("all is neither joined nor left", 1, function(conn)
  check.misuse("ws.all", function() conn:join(ws.all) end)
  check.misuse("ws.all", function() conn:leave(ws.all) end)
end)

case("a join sees only later broadcasts, a leave stops at once", 2, function(a, b)
  local room = fresh()
  join_all(room, a)
  room:broadcast "1"
  join_all(room, b)
  room:broadcast "2"
  a:leave(room)
  room:broadcast "3"
  join_all(room, a)
  room:broadcast "4"
  return { { "1", "2", "4" }, { "2", "3", "4" } }
end)

case("sends and broadcasts arrive in the order in which they were made", 2, function(a, b)
  local room, other = fresh(), fresh()
  join_all(room, a, b)
  join_all(other, b)
  a:send "1"
  room:broadcast "2"
  other:broadcast "3"
  b:send "4"
  ws.all:broadcast "5"
  a:send "6"
  room:broadcast("7", { except = b })
  return { { "1", "2", "5", "6", "7" }, { "2", "3", "4", "5" } }
end)

case("a shared room is one of the whole host", 1, function(conn)
  local room = ws.shared "a shared room is one"
  check.equal(conn:join(room), true)
  check.equal(room:count(), 1)
  check.equal(room:members(), { conn })
  check.equal(ws.room(room.name):count(), 0)
  check.equal(room:broadcast "hello", 1)
  check.equal(conn:leave(room), true)
  check.equal(room:count(), 0)
  return { { "hello" } }
end)

case("a name reaches the script's own room only", 1, function(conn)
  conn:join "own or shared"
  check.equal(ws.shared("own or shared"):count(), 0)
  conn:join(ws.shared "own or shared")
  conn:leave "own or shared"
  check.equal(ws.shared("own or shared"):count(), 1)
  check.equal(ws.room("own or shared"):count(), 0)
end)

case("close ends every member and none else", 3, function(a, b, c)
  local room = fresh()
  join_all(room, a, b)
  room:broadcast "last"
  room:close(4005, "over")
  check.equal({ a.connected, b.connected, c.connected }, { false, false, true })
  check.equal(room:count(), 0)
  local ended = { "last", { closed = { 4005, "over" } } }
  return { ended, ended, {} }
end)

case("close without a code says 1000", 1, function(conn)
  local room = fresh()
  join_all(room, conn)
  room:close()
  return { { { closed = { 1000, "" } } } }
end)

case("a closed member is in no room", 2, function(a, b)
  local room = fresh()
  join_all(room, a, b)
  a:close()
  check.equal(room:members(), { b })
  check.equal(room:presence(), { { id = b.id } })
  check.equal(room:broadcast "left", 1)
  for _, conn in ipairs(ws.all:members()) do
    check.truthy(conn ~= a)
  end
end)

case("a broadcast in a loop that closes as it goes", 3, function(a, b, c)
  local room = fresh()
  join_all(room, a, b, c)
  for i, conn in ipairs(room:members()) do
    check.equal(room:broadcast(tostring(i)), 4 - i)
    conn:close(4000 + i)
  end
  return {
    { "1", { closed = { 4001, "" } } },
    { "1", "2", { closed = { 4002, "" } } },
    { "1", "2", "3", { closed = { 4003, "" } } },
  }
end)

case("more than may be sent is refused, not sent", 1, function(conn)
  local room = fresh()
  join_all(room, conn)
  local value, message = room:broadcast(("x"):rep(3 << 20))
  check.equal(value, nil)
  check.truthy(message)
  check.equal(conn.connected, true)
  return { {} }
end)

case("a room value held after its last member has left works on", 2, function(a, b)
  local room = fresh()
  join_all(room, a)
  a:leave(room)
  check.equal(room:count(), 0)
  join_all(room.name, b)
  check.equal(room:members(), { b })
  check.equal(room:broadcast "again", 1)
  return { {}, { "again" } }
end)

case("misuse raises with the caller's line", 1, function(conn)
  local room = fresh()
  check.misuse("string", function() ws.room() end)
  check.misuse("string", function() ws.room(1) end)
  check.misuse("string", function() ws.shared {} end)
  check.misuse("room or name", function() conn:join() end)
  check.misuse("room or name", function() conn:join {} end)
  check.misuse("room or name", function() conn:leave(1) end)
  check.misuse("table expected", function() conn:join("a", 1) end)
  check.misuse("no option 'exept'", function() room:broadcast("x", { exept = conn }) end)
  check.misuse("no option", function() room:broadcast("x", { conn }) end)
  check.misuse("", function() room:broadcast("x", 1) end)
  check.misuse("except", function() room:broadcast("x", { except = 1 }) end)
  check.misuse("except", function() room:broadcast("x", { except = { conn, "b" } }) end)
  check.misuse("kind", function() room:broadcast("x", { kind = "json" }) end)
  check.misuse("slow", function() room:broadcast("x", { slow = "never" }) end)
  check.misuse("key", function() room:broadcast("x", { key = {} }) end)
  check.misuse("string or table", function() room:broadcast() end)
  check.misuse("string or table", function() room:broadcast(1) end)
  check.misuse("UTF%-8", function() room:broadcast "\xff" end)
  check.misuse("a function", function() room:broadcast { print } end)
  check.misuse("1005", function() room:close(1005) end)
  check.misuse("room expected", function() room.count(1) end)
  check.misuse("", function() room.broadcast() end)
  check.equal(room.no_such, nil)
  check.misuse("", function() room.name = "other" end)
end)

return case:script { limits = { conn_rooms = 6, rooms = 20 } }
