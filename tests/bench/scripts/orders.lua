-- Orders in JSON, and what a connection has ordered so far.

local ws = require "ws"

---@type ws.Script
local orders = {}

function orders.open(conn)
  conn.data.orders, conn.data.pieces = 0, 0
end

function orders.message(conn, text)
  local order, data = ws.json.decode(text), conn.data
  data.orders = data.orders + 1
  data.pieces = (data.pieces + order.pieces) % 1000
  conn:send { id = order.id, item = order.item, orders = data.orders, pieces = data.pieces }
end

return orders
