-- upgrade: answers as the query's `case` says; `open` tells what came of it.
local ws = require "ws"

local answers, kept = {}, {}
local ended = 0

function answers.nothing() end
function answers.yes() return true end
function answers.empty() return {} end
function answers.none() return nil end
function answers.none_why() return nil, "the reason\nnever sent" end
function answers.no() return false end
function answers.no_why() return false, "not today" end
function answers.no_why_table() return false, { code = 1 } end
function answers.number() return 1 end
function answers.zero() return 0 end
function answers.text() return "yes" end
function answers.fn() return print end
function answers.conn() return ws.json.null end
function answers.raises() error "secret of the script" end
function answers.raises_object() error(setmetatable({}, { __tostring = error })) end

function answers.data()
  kept.data = { name = "Ann", seats = { 1, 2 } }
  return { data = kept.data }
end

function answers.data_text() return { data = "text" } end
function answers.data_false() return { data = false } end
function answers.protocol(req) return { protocol = req.query.take } end
function answers.protocol_number() return { protocol = 1 } end

function answers.headers()
  return { headers = { ["x-one"] = "1", ["set-cookie"] = { "a=1", "b=2" } } }
end

function answers.bad_header() return { headers = { ["x-one"] = "1\r\nx-two: 2" } } end
function answers.headers_text() return { headers = "x" } end

function answers.all(req)
  return { data = { n = 1 }, protocol = req.query.take, headers = { ["x-one"] = "1" } }
end

function answers.reject(req)
  local body = req.query.body
  if req.query.json then
    body = { why = "json" }
  end
  ws.reject(math.tointeger(req.query.status), body, { ["x-why"] = "because" })
  error "never reached"
end

function answers.returned_reject() return ws.reject(401, "who?") end
function answers.reject_bare() ws.reject(404) end

function answers.reject_in_pcall()
  for _ = 1, 3 do
    pcall(pcall, function() ws.reject(402, "pcall") end)
  end
  kept.after = true
  return true
end

function answers.reject_in_xpcall()
  xpcall(ws.reject, function() kept.after = true return true end, 402, "xpcall")
  kept.after = true
  return true
end

function answers.reject_in_coroutine()
  local co = coroutine.create(function() ws.reject(402, "coroutine") end)
  coroutine.resume(co)
  kept.after = true
  return true
end

function answers.reject_in_wrap()
  pcall(coroutine.wrap(function() pcall(ws.reject, 402, "wrap") coroutine.yield() end))
  kept.after = true
  return true
end

function answers.reject_in_close()
  local _ <close> = setmetatable({}, { __close = function() ws.reject(402, "close") end })
  return true
end

function answers.reject_while_closing()
  local _ <close> = setmetatable({}, { __close = function() kept.closed = true end })
  ws.reject(402, "while closing")
end

function answers.reject_after_wait()
  ws.sleep(0.02)
  pcall(ws.reject, 402, "after wait")
  return true
end

function answers.bad_reject(req)
  local wrong = {
    low = function() ws.reject(299) end,
    high = function() ws.reject(600) end,
    nothing = function() ws.reject() end,
    text = function() ws.reject "no" end,
    body = function() ws.reject(403, print) end,
    header = function() ws.reject(403, "", { ["x-a"] = "\n" }) end,
  }
  local ok, message = pcall(wrong[req.query.what])
  kept.after = { ok, message }
  return true
end

function answers.waits(req)
  local before = req.path
  ws.sleep(0.05)
  return { data = { same = req.path == before } }
end

function answers.waits_and_raises() ws.sleep(0.01) error "later" end
function answers.waits_too_long() ws.sleep(30) return true end

function answers.fields(req)
  local fields = {}
  for _, name in ipairs { "method", "path", "query", "headers", "cookies", "params", "remote",
    "body" } do
    fields[name] = req[name]
  end
  fields.bearer = req:bearer()
  return { data = fields }
end

return {
  route = { "/upgrade", "/upgrade/:name" },
  limits = { handler_wait_s = 1 },
  upgrade = function(req)
    kept.after = nil
    return answers[req.query.case](req)
  end,
  open = function(conn, req)
    conn:send {
      data = conn.data,
      same = kept.data ~= nil and conn.data == kept.data,
      protocol = conn.protocol,
      params = conn.params,
      path = req.path,
      query = req.query.case,
      all = ws.all:count(),
    }
  end,
  close = function() ended = ended + 1 end,
  request = function()
    return 200, {
      after = kept.after or ws.json.null,
      closed = kept.closed,
      ended = ended,
      all = ws.all:count(),
      reject = { pcall(ws.reject, 403) },
    }
  end,
}
