-- Slow members, by a policy for the whole script.
local script = require "slow_members"
script.slow = "drop"
return script
