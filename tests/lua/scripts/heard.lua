-- Sends what it is sent, and then what is no UTF-8 and might lie where that lay.

return {
  message = function(conn, data, kind)
    conn:send(data, kind)
    local size, wrong = #data, 0
    data = nil -- luacheck: ignore
    for _ = 1, 20000 do
      local text = ("\xff"):rep(size)
      wrong = wrong + (pcall(conn.send, conn, text) and 1 or 0)
    end
    conn:send("wrong: " .. wrong)
  end,
}
