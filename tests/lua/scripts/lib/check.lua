--- Cases that run inside the host: one by a GET that names it, all their names by a GET that
--- doesn't. A case with connections is given those that were opened for it.
local ws = require "ws"

local check = {}

local function show(value)
  if type(value) == "string" then
    return string.format("%q", value)
  elseif type(value) ~= "table" then
    return math.type(value) == "float" and string.format("%.17g (float)", value) or tostring(value)
  end
  local parts = {}
  for key, item in pairs(value) do
    parts[#parts + 1] = "[" .. show(key) .. "] = " .. show(item)
  end
  table.sort(parts)
  return "{" .. table.concat(parts, ", ") .. "}"
end

check.show = show

--- Where two values differ, or nil. 1 and 1.0 differ.
local function difference(got, expected, path)
  if type(got) ~= "table" or type(expected) ~= "table" then
    if got ~= expected or math.type(got) ~= math.type(expected) then
      return path .. ": got " .. show(got) .. ", expected " .. show(expected)
    end
    return nil
  end
  for key in pairs(expected) do
    local found = difference(got[key], expected[key], path .. "[" .. show(key) .. "]")
    if found then
      return found
    end
  end
  for key in pairs(got) do
    if expected[key] == nil then
      return path .. "[" .. show(key) .. "]: got " .. show(got[key]) .. ", expected nothing"
    end
  end
end

--- Equal, tables by what they hold.
function check.equal(got, expected, what)
  local found = difference(got, expected, what or "value")
  if found then
    error(found, 2)
  end
end

function check.truthy(value, what)
  if not value then
    error((what or "value") .. ": got " .. show(value), 2)
  end
end

--- fn raises, with a message that matches; the message.
function check.raises(pattern, fn, ...)
  local ok, message = pcall(fn, ...)
  if ok then
    error("nothing was raised, expected " .. show(pattern), 2)
  end
  if type(message) ~= "string" or not message:find(pattern) then
    error("raised " .. show(message) .. ", expected " .. show(pattern), 2)
  end
  return message
end

--- As raises, and the message begins with this file and the line of the call in fn, which is the
--- line where fn begins.
function check.misuse(pattern, fn, ...)
  local ok, message = pcall(fn, ...)
  if ok then
    error("nothing was raised, expected " .. show(pattern), 2)
  end
  local place = debug.traceback("", 2):match "\n\t([^\n]-%.lua:%d+:)"
  if type(message) ~= "string" or message:sub(1, #place) ~= place then
    error("raised " .. show(message) .. ", expected it to begin with " .. place, 2)
  end
  if not message:find(pattern) then
    error("raised " .. show(message) .. ", expected " .. show(pattern), 2)
  end
end

--- What a call answered: nil and a message that matches.
function check.refused(pattern, ...)
  local value, message = ...
  if select("#", ...) < 2 or value ~= nil or type(message) ~= "string"
    or not message:find(pattern) then
    error("got " .. show { ... } .. ", expected nil and " .. show(pattern), 2)
  end
end

--- Waits until fn answers something true.
function check.eventually(fn, what)
  for _ = 1, 1000 do
    local value = fn()
    if value then
      return value
    end
    ws.sleep(0.01)
  end
  error((what or "it") .. " never came", 2)
end

local function message_of(err)
  return type(err) == "string" and debug.traceback(err, 2) or "raised " .. show(err)
end

--- A list of cases: suite(name, fn), or suite(name, number of connections, fn). fn may return what
--- each of the connections has received.
function check.suite()
  local cases, by_name, opened = {}, {}, {}

  local function add(_, name, conns, fn)
    if not fn then
      conns, fn = 0, conns
    end
    assert(not by_name[name], "two cases of one name: " .. name)
    cases[#cases + 1] = { name = name, conns = conns }
    by_name[name] = fn
  end

  local function run(req)
    local name = req.query.case
    if not name then
      return 200, cases
    end
    local conns = opened[req.query.run] or {}
    local ok, result = xpcall(by_name[name], message_of, table.unpack(conns))
    if not ok then
      return 200, { ok = false, message = result }
    end
    for i = 1, result and #conns or 0 do
      result[i] = ws.json.array(result[i] or {})
    end
    return 200, { ok = true, received = result }
  end

  --- The script to return: its own handlers, and those that run cases.
  local function script(_, handlers)
    local open = handlers.open
    handlers.request = handlers.request or run
    function handlers.open(conn, req)
      local token = req.query.run
      if token then
        opened[token] = opened[token] or {}
        table.insert(opened[token], conn)
      end
      if open then
        open(conn, req)
      end
    end
    return handlers
  end

  return setmetatable({ script = script }, { __call = add })
end

return check
