-- ws.limiter: rate, burst, cost, the time to wait, keys. No case depends on how fast it runs.
local check = require "check"
local ws = require "ws"

local case = check.suite()
local HOUR = 3600

local function spend(limiter, key, times)
  for i = 1, times do
    check.equal(limiter:allow(key), true, "allow " .. i)
  end
end

--- Denied, with a wait within [at most - 60, at most].
local function wait_of(at_most, ok, seconds, ...)
  check.equal(ok, false, "allowed")
  check.equal(select("#", ...), 0)
  check.equal(math.type(seconds), "float")
  check.truthy(seconds <= at_most and seconds > at_most - 60, "wait of " .. tostring(seconds))
end

case("a burst at once, then false and the seconds to wait", function()
  local l = ws.limiter { rate = 1, per = HOUR, burst = 5 }
  spend(l, "a", 5)
  wait_of(HOUR, l:allow "a")
end)

case("allowed is true and nothing else", function()
  local l = ws.limiter { rate = 1, per = HOUR, burst = 2 }
  check.equal(select("#", l:allow "a"), 1)
end)

case("the wait is cost less what is there, over the rate", function()
  local l = ws.limiter { rate = 2, per = HOUR, burst = 10 }
  check.equal(l:allow("a", 9), true)
  wait_of(2 * HOUR, l:allow("a", 5)) -- 4 are missing, 2 come in an hour
  wait_of(HOUR / 2, l:allow("a", 2))
  check.equal(l:allow("a", 1), true)
end)

case("what was denied costs nothing", function()
  local l = ws.limiter { rate = 1, per = HOUR, burst = 3 }
  check.equal(l:allow("a", 2), true)
  for _ = 1, 10 do
    check.equal((l:allow("a", 2)), false)
  end
  check.equal(l:allow("a", 1), true)
end)

case("each key has its own allowance", function()
  local l = ws.limiter { rate = 1, per = HOUR, burst = 1 }
  check.equal(l:allow "a", true)
  check.equal(l:allow "b", true)
  check.equal((l:allow "a"), false)
  check.equal((l:allow "b"), false)
end)

case("each limiter has its own keys", function()
  local one, two = ws.limiter { rate = 1, per = HOUR }, ws.limiter { rate = 1, per = HOUR }
  check.equal(one:allow "a", true)
  check.equal(two:allow "a", true)
  check.equal((one:allow "a"), false)
end)

case("a string, an integer and a float are different keys", function()
  local l = ws.limiter { rate = 1, per = HOUR, burst = 1 }
  for _, key in ipairs { "1", 1, 1.5, "1.5", "", "a\0b", "a\0c" } do
    check.equal(l:allow(key), true, check.show(key))
    check.equal((l:allow(key)), false, check.show(key))
  end
end)

case("1.0 was another key than 1: equal numbers are one, as in a table", function()
  local l = ws.limiter { rate = 1, per = HOUR, burst = 1 }
  check.equal(l:allow(1), true)
  check.equal((l:allow(1.0)), false)
  check.equal(l:allow(-0.0), true)
  check.equal((l:allow(0)), false)
end)

case("a conn is a key", 2, function(a, b)
  local l = ws.limiter { rate = 1, per = HOUR, burst = 1 }
  check.equal(l:allow(a), true)
  check.equal(l:allow(b), true)
  check.equal((l:allow(a)), false)
  check.equal((l:allow(ws.conn(b.id))), false)
  check.equal(l:allow(a.id), true)
end)

case("a cost may be a fraction or nothing", function()
  local l = ws.limiter { rate = 1, per = HOUR, burst = 1 }
  check.equal(l:allow("a", 0), true)
  check.equal(l:allow("a", 0.5), true)
  check.equal(l:allow("a", 0.5), true)
  check.equal(l:allow("a", 0), true)
  wait_of(HOUR / 4, l:allow("a", 0.25))
end)

case("it refills", function()
  local l = ws.limiter { rate = 1000, per = 1, burst = 1 }
  check.equal(l:allow "a", true)
  check.eventually(function() return l:allow "a" end, "a token")
end)

case("it never holds more than the burst", function()
  local l = ws.limiter { rate = 1000, per = HOUR, burst = 2 }
  check.equal(l:allow("a", 1), true)
  ws.sleep(0.02)
  check.equal(l:allow("a", 1), true)
  check.equal((l:allow("a", 2)), false)
end)

case("per is a second and burst the rate if not said", function()
  local l = ws.limiter { rate = 3 }
  check.equal(l:allow("a", 3), true)
  local ok, wait = l:allow("a", 3)
  check.equal(ok, false)
  check.truthy(wait <= 1 and wait > 0, "wait")
end)

case("a rate of less than one still bursts one", function()
  local l = ws.limiter { rate = 0.5, per = HOUR }
  check.equal(l:allow "a", true)
  wait_of(2 * HOUR, l:allow "a")
end)

case("misuse raises with the caller's line", function()
  local l = ws.limiter { rate = 1, burst = 2 }
  check.misuse("rate", function() ws.limiter {} end)
  check.misuse("rate", function() ws.limiter { rate = 0 } end)
  check.misuse("rate", function() ws.limiter { rate = -1 } end)
  check.misuse("rate", function() ws.limiter { rate = "1" } end)
  check.misuse("per", function() ws.limiter { rate = 1, per = 0 } end)
  check.misuse("burst", function() ws.limiter { rate = 1, burst = 0 / 0 } end)
  check.misuse("rate", function() ws.limiter { rate = math.huge } end)
  check.misuse("table expected", function() ws.limiter(1) end)
  check.misuse("string, number or conn", function() l:allow() end)
  check.misuse("string, number or conn", function() l:allow {} end)
  check.misuse("string, number or conn", function() l:allow(ws.json.null) end)
  check.misuse("cost", function() l:allow("a", -1) end)
  check.misuse("cost", function() l:allow("a", 3) end)
  check.misuse("cost", function() l:allow("a", 0 / 0) end)
  check.misuse("number expected", function() l:allow("a", "many") end)
  check.misuse("limiter expected", function() l.allow({}, "a") end)
end)

return case:script {}
