-- An auction at /auction: one lot after another, and whoever has bid most when the hammer falls
-- has it. A bid is { "bid": 25 }; what happens is told to everybody as JSON.

local ws = require "ws"

local auction = { timers = {} }

-- Each of these may be set in perigee.lua.
local LOTS = ws.config.lots or { "A brass telescope", "A map of the Moon", "A box of old lenses" }
local LOT_S = ws.config.lot_s or 40 -- how long a lot is on sale
local LAST_S = ws.config.last_s or 8 -- a bid in the last seconds moves the end: nobody snipes
local PAUSE_S = ws.config.pause_s or 5 -- between two lots

local STEP = 5 -- how much more than the last bid it has to be
local HIGHEST = 1000000
local NAME_LENGTH = 24

-- How fast one connection may bid: 3 bids at once, then one a second.
local bids = ws.limiter { rate = 1, per = 1, burst = 3 }

-- The lot that is on sale. It is plain data, and outlives a change of this file.
local sale = ws.state("sale", { number = 0, price = 0, ends_at = 0, open = false, guests = 0 })

local function lot()
  return LOTS[(sale.number - 1) % #LOTS + 1]
end

local function picture()
  return {
    type = "lot", number = sale.number, lot = lot(), price = sale.price, name = sale.name,
    least = sale.price + STEP, open = sale.open,
    seconds = math.max(0, sale.ends_at - ws.monotonic()),
  }
end

local function refuse(conn, text)
  conn:send { type = "refused", text = text }
end

-- There is one hammer: moving it takes the old timer back.
local function set_hammer(seconds)
  if sale.hammer then
    ws.cancel(sale.hammer)
  end
  sale.hammer = ws.after(seconds, "hammer")
  sale.ends_at = ws.monotonic() + seconds
end

function auction.timers.next_lot()
  sale.number, sale.price, sale.open = sale.number + 1, 0, true
  sale.leader, sale.name = nil, nil
  set_hammer(LOT_S)
  ws.all:broadcast(picture())
end

function auction.timers.hammer()
  sale.open, sale.hammer = false, nil
  ws.all:broadcast {
    type = "sold", number = sale.number, lot = lot(), price = sale.price, name = sale.name,
  }
  if sale.leader then
    sale.leader:send { type = "won", number = sale.number, lot = lot(), price = sale.price }
  end
  ws.after(PAUSE_S, "next_lot")
end

-- Timers by name go on over a reload, so only the first start needs to begin.
function auction.start()
  if sale.number == 0 then
    auction.timers.next_lot()
  end
end

local function name_from(text)
  local length = text and utf8.len(text)
  if length and length <= NAME_LENGTH and text:find("%S") and not text:find("%c") then
    return text
  end
  sale.guests = sale.guests + 1
  return ("bidder %d"):format(sale.guests)
end

function auction.open(conn, req)
  conn.data.name = name_from(req.query.name)
  conn:send { type = "welcome", name = conn.data.name }
  conn:send(picture())
end

-- Bids are handled one after the other, so of two with the same sum the first one counts.
function auction.message(conn, text)
  local allowed, wait = bids:allow(conn)
  if not allowed then
    return refuse(conn, ("Too fast: wait %d s."):format(math.ceil(wait)))
  end
  local order = ws.json.decode(text)
  local bid = type(order) == "table" and math.tointeger(order.bid)
  if not bid then
    return refuse(conn, "A bid is a whole number.")
  end
  if not sale.open then
    return refuse(conn, "The hammer has fallen. The next lot comes soon.")
  end
  if conn == sale.leader then
    return refuse(conn, "The highest bid is yours already.")
  end
  if bid < sale.price + STEP or bid > HIGHEST then
    return refuse(conn, ("Bid %d or more, up to %d."):format(sale.price + STEP, HIGHEST))
  end

  sale.price, sale.leader, sale.name = bid, conn, conn.data.name
  if sale.ends_at - ws.monotonic() < LAST_S then
    set_hammer(LAST_S)
  end
  ws.all:broadcast(picture())
end

return auction
