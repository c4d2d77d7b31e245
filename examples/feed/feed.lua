-- Devices connect to /feed/NAME and send numbers; screens connect to /feed and see them all. A
-- screen that can't keep up gets the newest number of each device, and is told what it missed.

local ws = require "ws"

local feed = {
  route = { "/feed", "/feed/:device" },
  slow = "latest", -- for whoever is slow, a newer reading takes the place of the one that waits
  limits = { outbox_soft = 16 * 1024 }, -- so much may wait before a screen counts as slow
  timers = {},
}

local NAME_BYTES = 64
local DEMO = ws.config.demo or 0 -- so many devices that are none: see perigee.lua

local screens = ws.room "screens"
local devices = ws.state("devices", {}) -- by name: its connection
local readings = ws.state("readings", {}) -- by name: its last number

-- `key` says what replaces what: a device's newest reading, its older one.
local function show(device, value)
  readings[device] = value
  screens:broadcast({ device = device, value = value or ws.json.null }, { key = device })
end

function feed.upgrade(req)
  local device = req.params.device
  if device and #device > NAME_BYTES then
    ws.reject(400, ("a device's name has %d bytes at most"):format(NAME_BYTES))
  end
end

function feed.open(conn)
  local device = conn.params.device
  if not device then
    conn:join(screens)
    return conn:send { readings = readings }
  end
  -- A device may be back before its old connection was found to be dead: the new one counts.
  local old = devices[device]
  devices[device] = conn
  if old then
    old:close(4001, "this device has connected again")
  end
end

function feed.message(conn, text)
  local device = conn.params.device
  if not device then
    return conn:close(4400, "a screen only watches")
  end
  local value = tonumber(text)
  if not value or value - value ~= 0 then -- nothing JSON could hold: infinite, or no number
    return conn:close(4400, "a reading is a number")
  end
  show(device, value)
end

-- A screen that was slow has caught up.
function feed.drain(conn, missed)
  conn:send { missed = missed }
end

function feed.close(conn)
  local device = conn.params.device
  if device and devices[device] == conn then
    devices[device] = nil
    show(device, nil)
  end
end

-- The demonstration: each device sends 50 readings a second.

function feed.timers.demo()
  if screens:count() == 0 then
    return
  end
  for i = 1, DEMO do
    local device = ("demo %02d"):format(i)
    local value = (readings[device] or 20 + i) + math.random() - 0.5
    show(device, math.floor(value * 100 + 0.5) / 100)
  end
end

function feed.start()
  if DEMO > 0 then
    ws.every(0.02, "demo")
  end
end

return feed
