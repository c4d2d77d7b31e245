-- limiter_keys: over it the fullest bucket is forgotten. The script has one limiter, of 8 keys.
local check = require "check"
local ws = require "ws"

local case = check.suite()
local l = ws.limiter { rate = 1, per = 3600, burst = 100 }

case("at the key limit the fullest is forgotten, the others are kept", function()
  for i = 1, 8 do
    check.equal(l:allow("key " .. i, i == 5 and 10 or 50), true)
  end
  check.equal(l:allow("one more", 60), true) -- "key 5" goes: it lacks least
  for _, i in ipairs { 1, 2, 3, 4, 6, 7, 8 } do
    check.equal((l:allow("key " .. i, 51)), false, "key " .. i)
  end
  check.equal((l:allow("one more", 60)), false)
  check.equal(l:allow("key 5", 100), true) -- as new
end)

return case:script { limits = { limiter_keys = 8 } }
