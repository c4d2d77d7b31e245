-- Slow members, by the default policy.
return require "slow_members"
