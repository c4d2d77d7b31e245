-- limiter_keys counts a script's keys, over all of its limiters.
local check = require "check"
local ws = require "ws"

local case = check.suite()
local one = ws.limiter { rate = 1, per = 3600, burst = 100 }
local other = ws.limiter { rate = 1, per = 3600, burst = 100 }

case("the limit on keys is the script's, not a limiter's", function()
  for i = 1, 4 do
    check.equal(one:allow("key " .. i, i == 2 and 10 or 50), true)
  end
  check.equal(other:allow("key", 50), true)
  check.equal(one:allow("key 2", 100), true) -- it was forgotten, as the fullest
end)

return case:script { limits = { limiter_keys = 4 } }
