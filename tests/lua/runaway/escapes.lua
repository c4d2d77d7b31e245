-- Ways to run for ever, each of which a simple count hook, or a pcall, would let go on.
local ws = require "ws"

local function spin() while true do end end

--- A value whose `__close` never ends.
local function closes_never() return setmetatable({}, { __close = spin }) end

local escapes = {}

function escapes.loop() spin() end

function escapes.running_coroutine()
  local co = coroutine.wrap(spin)
  co()
end

--- Runs already, and has yielded before, when the time is over.
function escapes.resumed_coroutine()
  local co = coroutine.create(function()
    while true do coroutine.yield() end
  end)
  while true do coroutine.resume(co) end
end

function escapes.new_coroutines()
  while true do coroutine.resume(coroutine.create(spin)) end
end

function escapes.new_wraps()
  while true do pcall(coroutine.wrap(function() pcall(spin) end)) end
end

function escapes.nested_coroutines()
  local function deeper(n)
    if n == 0 then spin() end
    while true do pcall(coroutine.wrap(deeper), n - 1) end
  end
  deeper(20)
end

function escapes.pcall()
  while true do pcall(spin) end
end

function escapes.pcall_of_pcall()
  while true do pcall(pcall, pcall, spin) end
end

function escapes.xpcall()
  while true do xpcall(spin, function(e) return e end) end
end

function escapes.message_handler() xpcall(error, spin) end

function escapes.message_handler_of_the_stop() xpcall(spin, spin) end

function escapes.sort_in_xpcall()
  xpcall(table.sort, spin, { 3, 2, 1 }, spin)
end

function escapes.close()
  local _ <close> = closes_never()
  spin()
end

function escapes.close_after_an_error()
  local _ <close> = closes_never()
  error "first this"
end

function escapes.many_closes()
  local _ <close> = closes_never()
  local _ <close> = closes_never()
  pcall(function()
    local _ <close> = closes_never()
    local _ <close> = closes_never()
    spin()
  end)
  spin()
end

function escapes.close_in_a_coroutine()
  coroutine.wrap(function()
    local _ <close> = closes_never()
    spin()
  end)()
end

function escapes.close_in_a_coroutine_that_failed()
  coroutine.resume(coroutine.create(function()
    local _ <close> = closes_never()
    error "first this"
  end))
end

function escapes.coroutine_close()
  local co = coroutine.create(function()
    local _ <close> = closes_never()
    local _ <close> = closes_never()
    coroutine.yield()
  end)
  coroutine.resume(co)
  while true do coroutine.close(co) end
end

function escapes.close_after_a_wait()
  local _ <close> = closes_never()
  pcall(function()
    local _ <close> = closes_never()
    ws.sleep(0.001)
    spin()
  end)
end

function escapes.index_chain()
  local t = {}
  for _ = 1, 1000 do
    t = setmetatable({}, { __index = t })
  end
  while true do local _ = t.x end
end

function escapes.index_functions()
  local t = setmetatable({}, { __index = function(self, key) return self[key + 1] end })
  while true do pcall(function() return t[1] end) end
end

function escapes.tostring()
  local t = setmetatable({}, { __tostring = spin })
  error(t)
end

function escapes.sort_of_long_strings()
  local a, b = ("x"):rep(4 << 20) .. "a", ("x"):rep(4 << 20) .. "b"
  local list = {}
  for i = 1, 2000 do
    list[i] = i % 2 == 0 and a or b
  end
  table.sort(list)
end

function escapes.sort_without_an_order()
  local list = {}
  for i = 1, 1e6 do
    list[i] = i
  end
  while true do table.sort(list, function() return true end) end
end

function escapes.load_of_12_mib()
  while true do pcall(load, ("x = 1 "):rep(2 << 20)) end
end

--- Lists of jumps are walked to their end for each `and`: 100 s for 850 kB.
function escapes.load_of_a_long_line()
  load("return " .. ("a and "):rep(170000) .. "a")
end

function escapes.load_by_pieces()
  load(function() while true do end end)
end

function escapes.rep()
  while true do pcall(string.rep, "x", 1 << 62) pcall(string.rep, "", 1 << 62, "") end
end

function escapes.move()
  while true do pcall(table.move, {}, 1, 1 << 62, 2) end
end

function escapes.move_what_is_never_there()
  local t = setmetatable({}, { __index = math.type, __newindex = rawlen })
  while true do pcall(table.move, t, 1, 5000000, 2) end
end

function escapes.insert_into_what_lies()
  local t = setmetatable({}, { __len = function() return 1 << 53 end })
  while true do pcall(table.insert, t, 1, "x") end
end

function escapes.remove_from_what_lies()
  local t = setmetatable({}, { __len = function() return 1 << 53 end })
  while true do pcall(table.remove, t, 1) end
end

--- Every element is "", by a function in C.
function escapes.concat_of_nothing()
  local t = setmetatable({}, { __index = table.concat })
  while true do pcall(table.concat, t, "", 1, 1 << 62) end
end

function escapes.find()
  local text, pattern = ("x"):rep(40000), (".-"):rep(6) .. "b"
  while true do pcall(string.find, text, pattern) end
end

function escapes.gmatch()
  for _ in ("x"):rep(40000):gmatch((".-"):rep(6) .. "b") do end
  while true do end
end

function escapes.gsub()
  while true do pcall(string.gsub, ("x"):rep(40000), (".-"):rep(6) .. "b", "") end
end

--- Where each place of the text looks at half of the pattern.
function escapes.find_plain()
  local text = ("a"):rep(4 << 20)
  local pattern = ("a"):rep(2 << 20) .. "b"
  for _ = 1, 3 do text:find(pattern, 1, true) end
  while true do end
end

function escapes.require() require "_never" end

function escapes.timer()
  ws.after(0, spin)
end

function escapes.reject()
  local _ <close> = closes_never()
  pcall(ws.reject, 403)
end

local script = { limits = { handler_stop_s = 0.1 } }

function script.message(conn, text)
  local escape = escapes[text]
  if escape then
    escape()
    conn:send "it got away"
  else
    conn:send(text)
  end
end

function script.upgrade(req)
  if req.query.spin == "data" then
    -- What the host reads, it reads by metamethods.
    return setmetatable({}, { __index = spin })
  elseif req.query.spin then
    spin()
  end
end

function script.open(conn, req)
  conn.data.spin = req.query.close
  if req.query.open then
    local _ <close> = closes_never()
    spin()
  end
end

function script.close(conn)
  if conn.data.spin then spin() end
end

function script.request(req)
  local names = {}
  for name in pairs(escapes) do
    names[#names + 1] = name
  end
  table.sort(names)
  if req.query.spin then
    spin()
  end
  return 200, names
end

return script
