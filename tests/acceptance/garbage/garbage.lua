-- Keeps KEEP_MIB of records in many tables; each message replaces one, and leaves garbage.
local ws = require "ws"

local KEEP_MIB <const>, A_TABLE <const>, BUCKETS <const> = 50, 500, 20000

local garbage = {}
local kept, count = {}, 0
local took, longest, before = {}, 0, 0 -- pieces of work by how many times 10 us they took

local function record(n) return { id = n, name = "user" .. n, tags = { n, 2, 3 } } end

-- All buckets are there from the start: a table that grows takes time of its own.
local function forget()
  for i = 0, BUCKETS do
    took[i] = 0
  end
  longest, before = 0, 0
end

function garbage.start()
  while collectgarbage "count" < KEEP_MIB * 1024 do
    local part = {}
    for i = 1, A_TABLE do
      count = count + 1
      part[i] = record(count)
    end
    kept[#kept + 1] = part
  end
  forget()
end

function garbage.message(conn, times)
  local answer
  for _ = 1, tonumber(times) do
    local began, cpu = ws.monotonic(), os.clock()
    answer = {}
    for i = 1, 5 do
      answer[i] = { i, "v" .. i * before, at = { before } }
    end
    before = before % count + 1
    kept[(before - 1) // A_TABLE + 1][(before - 1) % A_TABLE + 1] = record(before)
    -- In CPU time nobody else's work counts. That of the process comes in ticks on some kernels.
    longest = math.max(longest, os.clock() - cpu)
    local bucket = math.min((ws.monotonic() - began) * 100000 // 1 | 0, BUCKETS)
    took[bucket] = took[bucket] + 1
  end
  conn:send(#answer == 5 and "done" or "not done")
end

--- What they took so far; the next ones are counted anew.
function garbage.request()
  local all, sum, at = 0, 0, 0
  for i = 0, BUCKETS do
    all = all + took[i]
  end
  while at < BUCKETS and sum + took[at] < all * 0.999 do
    sum, at = sum + took[at], at + 1
  end
  local found = {
    count = all, kept = count, kib = collectgarbage "count",
    p999_us = (at + 1) * 10, longest_us = longest * 1e6,
  }
  forget()
  return 200, ws.json.encode(found)
end

return garbage
