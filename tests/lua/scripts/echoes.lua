-- request: answers as the query's `case` says; without one, all that a req holds.
local ws = require "ws"

local kept
local answers = {}
local finished, released = {}, {}

function answers.text() return 200, "plain" end
function answers.json() return 200, { a = 1 } end
function answers.empty_object() return 200, {} end
function answers.list() return 200, { 1, 2 } end
function answers.status() return 204 end
function answers.no_body() return 404, nil end
function answers.number() return 200, 12 end
function answers.nothing() end
function answers.explicit_nil() return nil end
function answers.typed() return 200, "<p>", { ["content-type"] = "text/html" } end
function answers.Typed() return 200, "<p>", { ["Content-Type"] = "text/html" } end
function answers.typed_json() return 200, {}, { ["content-type"] = "application/ld+json" } end
function answers.headers() return 200, "", { ["x-one"] = "1", ["x-list"] = { "a", "b" } } end
function answers.bytes() return 200, "\0\xff\r\n", { ["content-type"] = "x/y" } end
function answers.large() return 200, ("x"):rep(4096) end
function answers.too_large() return 200, ("x"):rep(4097) end
function answers.too_large_json() return 200, { ("x"):rep(4097) } end
function answers.cr() return 200, "", { ["x-a"] = "a\rb" } end
function answers.lf() return 200, "", { ["x-a"] = "a\nb" } end
function answers.nul() return 200, "", { ["x-a"] = "a\0b" } end
function answers.lf_in_list() return 200, "", { ["x-a"] = { "fine", "a\nb: c" } } end
function answers.lf_in_name() return 200, "", { ["x\na"] = "b" } end
function answers.no_name() return 200, "", { [""] = "b" } end
function answers.header_table() return 200, "", { ["x-a"] = { {} } } end
function answers.header_bool() return 200, "", { ["x-a"] = true } end
function answers.headers_string() return 200, "", "x-a: b" end
function answers.low() return 99, "" end
function answers.informational() return 101, "" end
function answers.high() return 600, "" end
function answers.word() return "ok" end
function answers.yes() return true end
function answers.bad_body() return 200, print end
function answers.bad_json() return 200, { f = print } end
function answers.raises() error "secret of the script" end
function answers.raises_table() error { code = 1 } end
function answers.raises_nil() error() end
function answers.not_utf8() return 200, "\xff" end

function answers.waits(req)
  local before = req.path
  ws.sleep(0.02)
  return 200, { before == req.path, req.query.case }
end

function answers.waits_long(req)
  local name = req.query.name
  ws.sleep(0.3)
  finished[#finished + 1] = name
  return 200, name
end

function answers.holds(req)
  local name = req.query.name
  while not released[name] do
    ws.sleep(0.01)
  end
  released[name] = nil
  finished[#finished + 1] = name
  return 200, name
end

function answers.releases(req)
  released[req.query.name] = true
  return 200
end

function answers.finished() return 200, ws.json.array(finished) end

function answers.waits_too_long() ws.sleep(30) return 200, "late" end

function answers.waits_and_raises() ws.sleep(0.01) error "later" end

function answers.keeps(req)
  kept = req
  return 200, "kept"
end

function answers.reads_kept()
  local ok, message = pcall(function() return kept.path end)
  return 200, { ok, message, tostring(kept) }
end

function answers.kept_bearer()
  local ok, message = pcall(function() return kept:bearer() end)
  return 200, { ok, message }
end

function answers.fields(req)
  return 200, {
    method = req.method,
    path = req.path,
    query = req.query,
    headers = req.headers,
    cookies = req.cookies,
    params = req.params,
    remote = req.remote,
    body = req.body,
    bearer = req:bearer(),
    no_such = req.no_such,
  }
end

function answers.changed(req)
  req.query.extra = "kept while the handler runs"
  local ok = pcall(function() req.path = "/other" end)
  return 200, { req.query.extra, ok, req.path }
end

function answers.bytes_of(req)
  return 200, { #req.query.text, req.query.text:byte(1, -1) }
end

return {
  route = { "/echoes", "/echoes/:one/:two", "/echoes/*" },
  limits = { response_bytes = 4096, body_bytes = 1000, handler_wait_s = 5 },
  request = function(req)
    return (answers[req.query.case] or answers.fields)(req)
  end,
}
