-- on_error = "close": an error in message ends that connection with 1011.
local ws = require "ws"
local closes, messages = {}, {}

return {
  on_error = "close",
  message = function(conn, text)
    table.insert(messages, text)
    if text == "raise" then
      error "strict"
    elseif text == "wait" then
      ws.sleep(0.05)
      error "strict after a wait"
    elseif text == "caught" then
      pcall(error, "caught")
    end
    conn:send(text)
  end,
  close = function(_, code, reason) table.insert(closes, { code, reason }) end,
  request = function()
    return 200, { closes = ws.json.array(closes), messages = ws.json.array(messages) }
  end,
}
