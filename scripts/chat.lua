-- The chat. Whoever opens /chat/lobby is in the room "lobby"; any other name is another room.
-- The page at / talks to this script, and so can any WebSocket client: a line of plain text goes
-- in, JSON comes out. Each rule below is there to be changed: save it, and it holds at once.

local ws = require "ws"
local words = require "words" -- lib/words.lua

---@type ws.Script
local chat = { route = "/chat/:room" }

-- The longest name and the longest line, in characters.
local NAME_LENGTH = 32
local TEXT_LENGTH = 1000

-- How fast one person may talk: 5 lines at once, then one a second.
local talk = ws.limiter { rate = 1, per = 1, burst = 5 }

-- Words that come out as stars. Put your own here, or none.
local hide_words = words.filter { "darn", "heck" }

-- What only one person sees.
local function tell(conn, text)
  conn:send { type = "note", text = text }
end

-- What one person gets for a line that goes no further; the page gives the line back to them.
local function refuse(conn, text)
  conn:send { type = "refused", text = text }
end

-- What everybody in the room sees. `how` is "said" for talk and "did" for /me.
local function say(conn, how, text)
  ws.room(conn.params.room):broadcast {
    type = how, from = conn.data.name, text = hide_words(text),
  }
end

-- The names in a room, first come first; and the same in lower case, to look one up.
local function names_in(room)
  local names, taken = {}, {}
  for i, member in ipairs(room:presence()) do
    local name = member.info.name
    names[i], taken[name:lower()] = name, true
  end
  return names, taken
end

-- What a name may be. Answers the name, or nil and what is wrong with it.
local function check_name(text)
  local length = utf8.len(text)
  if not length or text:find("%c") then
    return nil, "A name is plain text."
  end
  local name = length <= NAME_LENGTH and text:match("^%s*(.-)%s*$") or ""
  if name == "" then
    return nil, ("A name has 1 to %d characters, as in: /nick Ann"):format(NAME_LENGTH)
  end
  if hide_words(name) ~= name then
    return nil, "Please choose another name."
  end
  return name
end

-- Two people in a room never share a name: the second "ann" becomes "ann-2".
local function free_name(name, taken)
  local free, n = name, 1
  while taken[free:lower()] do
    n = n + 1
    free = name .. "-" .. n
  end
  return free
end

-- Commands: a line "/who" runs commands.who. Add a function here and there is a new one; `rest` is
-- the rest of the line.
local commands = {}

function commands.nick(conn, rest)
  local name, problem = check_name(rest)
  if not name then
    return tell(conn, problem)
  end
  local room, old = ws.room(conn.params.room), conn.data.name
  if name == old then
    return tell(conn, ("You are %s already."):format(name))
  end
  local _, taken = names_in(room)
  if taken[name:lower()] and name:lower() ~= old:lower() then
    return tell(conn, ("%s is taken in this room."):format(name))
  end
  conn:join(room, { info = { name = name } }) -- joining again only changes what presence() shows
  conn.data.name = name
  room:broadcast { type = "renamed", from = old, name = name }
end

function commands.who(conn)
  conn:send { type = "here", names = names_in(ws.room(conn.params.room)) }
end

function commands.me(conn, rest)
  if rest == "" then
    return tell(conn, "Say what you do, as in: /me waves")
  end
  say(conn, "did", rest)
end

local function help()
  local list = {}
  for name in pairs(commands) do
    list[#list + 1] = "/" .. name
  end
  table.sort(list)
  return ("Commands: %s. To say a line that begins with /, begin it with //.")
    :format(table.concat(list, ", "))
end

function commands.help(conn)
  tell(conn, help())
end

-- Somebody comes in. The name is what they ask for with ?name=, if it will do.
function chat.open(conn, req)
  local room = ws.room(conn.params.room)
  local names, taken = names_in(room)
  local wanted, problem = check_name(req.query.name or "guest")
  local name = free_name(wanted or "guest", taken)

  if not conn:join(room, { info = { name = name } }) then
    return conn:close(1008, "This room can't be opened. Is its name very long?")
  end
  conn.data.name = name
  names[#names + 1] = name

  conn:send { type = "welcome", name = name, names = names, text_length = TEXT_LENGTH }
  if problem then
    tell(conn, problem)
  end
  room:broadcast({ type = "joined", name = name }, { except = conn })
end

-- Somebody sends a line.
function chat.message(conn, text, kind)
  local allowed, wait = talk:allow(conn)
  if not allowed then
    return refuse(conn, ("Too fast: wait %d s."):format(math.ceil(wait)))
  end
  if kind == "binary" then
    return refuse(conn, "This chat takes text only.")
  end
  if utf8.len(text) > TEXT_LENGTH then
    return refuse(conn, ("A line has %d characters at most."):format(TEXT_LENGTH))
  end
  if not text:find("%S") then
    return
  end

  if text:sub(1, 1) ~= "/" then
    return say(conn, "said", text)
  end
  if text:sub(2, 2) == "/" then
    return say(conn, "said", text:sub(2))
  end
  local command, rest = text:match("^/(%S*)%s*(.*)$")
  local run = command and commands[command:lower()]
  if not run then
    return tell(conn, ("There is no /%s. %s"):format(command, help()))
  end
  run(conn, rest)
end

-- Somebody is gone, however it came about.
function chat.close(conn)
  if conn.data.name then
    ws.room(conn.params.room):broadcast { type = "left", name = conn.data.name }
  end
end

return chat
