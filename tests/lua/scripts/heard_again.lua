-- Sends what it is sent: twice, to another, as the other kind, and after a wait, in which others
-- are read.

local ws = require "ws"

local other

return {
  open = function(conn)
    other = other and other.connected and other or conn
  end,
  message = function(conn, data, kind)
    conn:send(data, kind)
    conn:send(data, kind)
    other:send(data, kind)
    local as_text, said = pcall(conn.send, conn, data, "text")
    conn:send(as_text and "text" or tostring(said))
    conn:send(data, "binary")
    ws.sleep(0.05)
    conn:send(data, kind)
  end,
}
