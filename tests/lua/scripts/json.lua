-- ws.json: exact integers, null, arrays and objects, and what JSON can't hold.
local check = require "check"
local ws = require "ws"

local case = check.suite()
local encode, decode, null, array = ws.json.encode, ws.json.decode, ws.json.null, ws.json.array

case("integers of 64 bits are exact both ways", function()
  for _, n in ipairs { 0, -1, 2 ^ 53 | 0, (2 ^ 53 | 0) + 1, math.maxinteger, math.mininteger } do
    local text = encode { n = n }
    check.equal(text, '{"n":' .. string.format("%d", n) .. "}")
    check.equal(decode(text).n, n)
  end
end)

case("integers over 64 bits are read as floats", function()
  check.equal(decode("9223372036854775808"), 2.0 ^ 63)
  check.equal(decode("-9223372036854775809"), -2.0 ^ 63)
  check.equal(decode("18446744073709551616"), 2.0 ^ 64)
end)

case("a float stays a float, to the last bit", function()
  for _, x in ipairs { 0.1, 1 / 3, 1.5, -2.5e-10, 1e100, 5e-324, 1.7976931348623157e308, 3.0 } do
    check.equal(decode(encode(x)), x)
  end
end)

case("an integer stays an integer, a number with a point or exponent is a float", function()
  check.equal(decode("[1, 1.0, 1e0]"), { 1, 1.0, 1.0 })
end)

case("what is no finite number raises", function()
  check.raises("not finite", encode, 0 / 0)
  check.raises("not finite", encode, math.huge)
  check.raises("not finite", encode, { -math.huge })
end)

case("true, false and null", function()
  check.equal(encode { a = true }, '{"a":true}')
  check.equal(encode { a = false }, '{"a":false}')
  check.equal(encode { a = null }, '{"a":null}')
  check.equal(encode(null), "null")
  check.equal(decode("[true, false, null]"), { true, false, null })
  check.equal(decode "null", null)
  check.truthy(decode('{"a":null}').a == null)
end)

case("null is no nil, not false, and equal to itself only", function()
  check.truthy(null ~= nil and null ~= false)
  check.truthy(null)
  check.equal(({ [null] = 1 })[null], 1)
end)

case("nothing breaks on asking null for a field", function()
  local answers = {}
  for _, name in ipairs { "id", "data", "connected", "no_such" } do
    local ok, value = pcall(function() return null[name] end)
    answers[#answers + 1] = ok and value ~= nil
  end
  check.equal(answers, { false, false, false, false })
  check.raises("conn expected", null.send, null, "text")
  check.truthy(type(tostring(null)) == "string")
end)

case("an empty table is an object, json.array makes it an array", function()
  check.equal(encode {}, "{}")
  check.equal(encode(array {}), "[]")
  check.equal(encode(array()), "[]")
  check.equal(encode { array {}, {} }, "[[],{}]")
end)

case("json.array answers the table that it was given", function()
  local list = { 1, 2 }
  check.truthy(array(list) == list)
  list[3] = "x"
  check.equal(encode(list), '[1,2,"x"]')
end)

case("an array emptied since stays an array", function()
  local list = array { 1 }
  list[1] = nil
  check.equal(encode(list), "[]")
end)

case("json.array of a table with a metatable raises", function()
  check.misuse("metatable", function() array(setmetatable({}, {})) end)
end)

case("what was decoded is encoded the same, empty ones too", function()
  for _, text in ipairs { "[]", "{}", "[[],{}]", '{"a":[]}', "[1]", '[null]', '""', "0" } do
    check.equal(encode(decode(text)), text)
  end
end)

case("keys 1 to n are an array, others an object", function()
  check.equal(encode { 1, 2, 3 }, "[1,2,3]")
  check.equal(encode { [1] = "a" }, '["a"]')
  check.equal(encode { [2] = "b" }, '{"2":"b"}')
  check.equal(encode { [0] = "z" }, '{"0":"z"}')
  local mixed = decode(encode { "a", x = "b" })
  check.equal(mixed, { ["1"] = "a", x = "b" })
end)

case("keys that JSON has no name for raise", function()
  check.raises("a fraction", encode, { [1.5] = 1 })
  check.raises("no string", encode, { [true] = 1 })
  check.raises("null", encode, { [null] = 1 })
  check.raises("no string", encode, { [{}] = 1 })
end)

case("text keeps its bytes, escapes where JSON wants them", function()
  local text = "a\"b\\c\n\t\0\x7f é 漢 🎈"
  check.equal(decode(encode(text)), text)
  check.equal(encode "\n", '"\\n"')
  check.equal(decode [["\u00e9\ud83c\udf88\u0000"]], "é🎈\0")
end)

case("text that is no UTF-8 raises", function()
  check.raises("UTF%-8", encode, "\xff")
  check.raises("name: .*UTF%-8", encode, { name = "\xc0\x80" })
  check.raises("UTF%-8", encode, { ["\xff"] = 1 })
  check.raises("UTF%-8", encode, "\xed\xa0\x80")
end)

case("what JSON can't hold is named by its path", function()
  check.raises("players%[3%]%.on_hit: a function", encode,
    { players = { 1, 2, { on_hit = print } } })
  check.raises("a: a coroutine", encode, { a = coroutine.create(print) })
  check.raises("%[2%]: a number", encode, { 1, 0 / 0 })
  check.raises("a function", encode, print)
  check.raises("host's type", encode, { room = ws.all })
end)

case("misuse raises with the caller's line", function()
  check.misuse("a function", function() encode(print) end)
  check.misuse("value expected", function() encode() end)
  check.misuse("string expected", function() decode(1) end)
  check.misuse("string expected", function() decode() end)
  check.misuse("table expected", function() array(1) end)
end)

case("a table in a circle raises", function()
  local a = { name = "a" }
  a.b = { back = a }
  check.raises("circle", encode, a)
  local list = {}
  list[1] = list
  check.raises("circle", encode, list)
end)

case("one table twice is encoded twice", function()
  local shared = { 1 }
  check.equal(encode { shared, shared }, "[[1],[1]]")
end)

case("deep nesting works up to 100, and fails with a word on it", function()
  local deep = {}
  local at = deep
  for _ = 1, 100 do
    at[1] = {}
    at = at[1]
  end
  check.equal(encode(decode(encode(array(deep)))), encode(deep))
  for _ = 1, 1000 do
    at[1] = {}
    at = at[1]
  end
  check.raises("deep", encode, deep)
end)

case("text nested too deeply raised: a client's rubbish is nil and a message", function()
  for _, depth in ipairs { 130, 5000, 100000 } do
    check.refused("deep", decode(("["):rep(depth) .. ("]"):rep(depth)))
    check.refused("deep", decode(('{"a":'):rep(depth) .. "1" .. ("}"):rep(depth)))
  end
  check.truthy(decode(("["):rep(128) .. ("]"):rep(128)))
end)

case("what is no JSON is nil and a message", function()
  local wrong = {
    "", " ", "{", "[1,]", "{a:1}", "'a'", "nul", "[1] x", '{"a":1,}', '"\xff"', "01", "+1", "NaN",
    '"\\x"', '"\n"', "// no", "\xef\xbb\xbf1x",
  }
  for _, text in ipairs(wrong) do
    check.refused("not JSON", decode(text))
  end
end)

case("the message tells where", function()
  check.refused("byte 6", decode "[1,2 x]")
end)

case("the last of a repeated key wins", function()
  check.equal(decode '{"a":1,"a":2}', { a = 2 })
end)

case("white space around is fine", function()
  check.equal(decode " \t\r\n [ 1 , 2 ] \n", { 1, 2 })
end)

case("encoding stops at the message limit", function()
  check.raises("bytes", encode, ("x"):rep(3 << 20))
end)

case("a conn is its id", 1, function(conn)
  check.equal(encode { who = conn }, '{"who":"' .. conn.id .. '"}')
  check.equal(encode { conn }, '["' .. conn.id .. '"]')
  check.equal(encode { [conn] = 1 }, '{"' .. conn.id .. '":1}')
end)

return case:script {}
