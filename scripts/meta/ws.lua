---@meta ws

--- The types of perigee's script API, for editors. No host ever loads this file: a script gets the
--- real thing by `require "ws"`. Put `---@type ws.Script` above a script's table, and an editor
--- knows what each handler is called with. tests/house/test_api_names.py keeps this page true.

--- Text goes in a text frame and is valid UTF-8; anything else goes as binary.
---@alias ws.Kind "text"|"binary"

--- What a broadcast does about a member that is over its soft limit: end the connection with 1013,
--- leave this message out for it, or give it this one instead of the last of the same key.
---@alias ws.Slow "close"|"drop"|"latest"

--- What can be sent: a string as it is, a table as JSON.
---@alias ws.Message string|table

--- Header fields of an answer. A list makes several fields of one name.
---@alias ws.Headers table<string, string|number|(string|number)[]>

--- What may be kept in state and handed to timers: nil, booleans, numbers, strings, connections,
--- room values, `ws.json.null`, and tables of these without metatables.
---@alias ws.Plain any

--- The table that a script returns. Handlers are all optional; one that is absent costs nothing.
--- The host reads the table once, when the file has run. What a handler returns means something in
--- `upgrade` and `request` only.
---@class (exact) ws.Script
--- The URL paths at which the script answers: `"/chat/:room"`, `"/files/*"`, or a list of them.
--- Left out, it is the file's own path: `a/b.lua` answers at `/a/b`.
---@field route? string|string[]
--- The version of the script's state, 1 if left out.
---@field version? integer
--- The subprotocols it speaks, best first. The first that the client offers is taken.
---@field protocols? string|string[]
--- What happens to slow members at a broadcast, unless the broadcast itself says. `"close"` if left
--- out.
---@field slow? ws.Slow
--- `"close"`: an error in `message` ends that connection with 1011. Left out, only the message is
--- lost.
---@field on_error? "close"
--- Limits of this script's own, each tighter than the host's.
---@field limits? ws.Limits
--- Functions by name for `ws.after` and `ws.every`. Each gets the data that its timer was given.
---@field timers? table<string, fun(data: any): (any, ...: any)>
--- Decides who may connect, before the connection is there. Nothing or `true` accepts, a table
--- accepts and gives `conn.data`, `nil` or `false` answers 403 and logs the reason. May wait.
---@field upgrade? fun(req: ws.Req): (accepted: ws.Acceptance|boolean|nil, reason: string?)
--- The connection is there and in `ws.all`. Join rooms and say hello. If it raises, it is closed
--- with 1011.
---@field open? fun(conn: ws.Conn, req: ws.Req): (any, ...: any)
--- A whole message has come. If the handler raises, this message is lost and the connection lives
--- on.
---@field message? fun(conn: ws.Conn, data: string, kind: ws.Kind): (any, ...: any)
--- A connection that was over its soft limit is under half of it again. `missed` messages were left
--- out for it by a slow policy since the last time.
---@field drain? fun(conn: ws.Conn, missed: integer): (any, ...: any)
--- The connection is gone, however it ended: once for each `open`, after all its other events.
--- 1005: the peer sent no code. 1006: there was no close handshake.
---@field close? fun(conn: ws.Conn, code: integer, reason: string): (any, ...: any)
--- A plain HTTP request on the script's route. Nothing: go on to a file or 426. Else status (200 to
--- 599), body (a table goes as JSON) and headers. May wait.
---@field request? fun(req: ws.Req): (status: integer?, body: ws.Message?, headers: ws.Headers?)
--- Runs once when the script has been loaded and its state is in place. `from` is the version
--- before, or nil. Can't wait; if it raises, the load fails.
---@field start? fun(from: integer?): (any, ...: any)
--- By the name of a state, and `conn` for `conn.data`: makes of what another `version` left, given
--- with that version, what this one needs.
---@field migrate? table<string, fun(old: table, from: integer): table>

--- What `upgrade` may return to accept a connection. All fields are optional.
---@class (exact) ws.Acceptance
--- Becomes `conn.data` itself.
---@field data? table
--- One of the subprotocols that the client offered, else it raises.
---@field protocol? string
--- Added to the 101 answer, save what the host sets itself.
---@field headers? ws.Headers

--- The limits that a script may tighten. Sizes in bytes or with a unit (`"64 KiB"`), times in
--- seconds.
---@class (exact) ws.Limits
---@field body_bytes? integer|string A request's body; over it: 413.
---@field handler_wait_s? number How long `upgrade` and `request` may take; over it: 504.
---@field response_bytes? integer|string The body that `request` answers; over it: 500.
---@field message_bytes? integer|string A message; over it: closed with 1009.
---@field fragments? integer Frames of one message; over it: closed with 1008.
---@field outbox_soft? integer|string What waits for one connection; over it: `slow`.
---@field outbox_hard? integer|string The same, never below one message; over it: 1013.
---@field conn_rooms? integer Rooms of one connection; over it: `join` answers nil.
---@field room_name_bytes? integer|string A room's name; over it: `join` answers nil.
---@field rooms? integer Rooms of the script; over it: `join` answers nil.
---@field timers? integer Timers of the script; over it: `after` and `every` answer nil.
---@field limiter_keys? integer Keys of all its limiters; over it: the fullest is forgotten.
---@field handler_warn_s? number CPU of one event; over it: a line in the log.
---@field handler_stop_s? number The same; over it: it is stopped, and the event lost.
---@field script_memory? integer|string Lua's and what it holds outside; over it: an error.

--- One WebSocket connection. It is a value: two handles of one connection are equal, work as the
--- same key of a table, may be kept anywhere and cost nothing to keep. As JSON it is its `id`.
--- After its end `id` and `connected` still answer, methods return `nil, "closed"`.
---@class ws.Conn
--- A short string that no other connection has, on other hosts and after restarts included.
---@field id string
--- Your own table about it, made when first used. May be assigned, to a table.
---@field data table<any, any>
--- The route's parameters that it was opened with: `conn.params.room` for `/chat/:room`.
---@field params table<string, string>
--- The subprotocol agreed on, nil without one.
---@field protocol string?
--- The client's address without the port; `unix` by a Unix-domain socket.
---@field remote string
--- `false` once it has ended.
---@field connected boolean
--- Bytes that wait to be sent.
---@field buffered integer
--- Seconds that a ping took, nil before the first.
---@field rtt number?
local Conn = {}

--- Sends a string, or a table as JSON. Text that is not valid UTF-8 raises.
---@param data ws.Message
---@param kind? ws.Kind `"text"` if left out
---@return "ok"|"slow"|nil accepted `"slow"`: accepted, and over its soft limit: wait for `drain`
---@return ("closed"|"too large")? problem why nothing was sent
function Conn:send(data, kind) end

--- Ends the connection. What was sent before still goes out, then its `close` handler runs.
---@param code? integer 1000 if left out; 1000-1003, 1007-1014 and 3000-4999 may be sent
---@param reason? string text of 123 bytes at most
---@return true? closed
---@return "closed"? problem it had ended already
function Conn:close(code, reason) end

--- Puts the connection into a room, to hear what is broadcast there from now on. Joining again
--- replaces what presence shows and keeps the place.
---@param room string|ws.Room a name (a room of this script) or a room value
---@param options? ws.JoinOptions
---@return true? joined
---@return string? problem `"closed"`, or the limit that was reached
function Conn:join(room, options) end

--- Takes the connection out of a room, at once.
---@param room string|ws.Room
---@return true? left
---@return string? problem `"closed"` or `"not a member"`
function Conn:leave(room) end

--- The rooms that it is in, in the order of the joins, without `ws.all`. In `close`: those at its
--- end.
---@return ws.Room[] rooms
function Conn:rooms() end

--- What `conn:join` may be told.
---@class (exact) ws.JoinOptions
--- What `room:presence()` shows of it: JSON data, copied at the join, 1 KiB at most.
---@field info? any

--- A named set of connections. There is nothing to create or remove: name it, join it. The same
--- name gives an equal value.
---@class ws.Room
--- Its name, `""` for `ws.all`.
---@field name string
--- `true` for a room of the whole host.
---@field shared boolean
local Room = {}

--- Sends to every member.
---@param data ws.Message
---@param options? ws.BroadcastOptions
---@return integer? addressed how many members, less those excepted
---@return "too large"? problem
function Room:broadcast(data, options) end

--- How many members it has.
---@return integer members
function Room:count() end

--- A new list of its members, in the order in which they joined.
---@return ws.Conn[] members
function Room:members() end

--- Who is here, in the order of the joins, with what each gave as `info`.
---@return ws.Presence[] present
function Room:presence() end

--- Closes every member, as `conn:close` does.
---@param code? integer 1000 if left out
---@param reason? string text of 123 bytes at most
---@return integer closed how many
function Room:close(code, reason) end

--- What `room:broadcast` may be told.
---@class (exact) ws.BroadcastOptions
--- A connection, or a list of them, that is left out.
---@field except? ws.Conn|ws.Conn[]
--- `"text"` if left out.
---@field kind? ws.Kind
--- What happens to slow members. The script's own `slow` if left out.
---@field slow? ws.Slow
--- With `slow = "latest"`: a message gives way to a newer one of the same key. The room if left
--- out.
---@field key? string

--- One line of `room:presence()`.
---@class ws.Presence
--- The connection's id, for `ws.conn`.
---@field id string
--- What it joined with, nil if nothing.
---@field info any

--- What a client asked with, in `upgrade`, `open` and `request`. It can be read until its handler
--- ends: copy what you need.
---@class ws.Req
--- `"GET"`, `"POST"`, ...
---@field method string
--- The path as it came, not decoded.
---@field path string
--- The query, form decoded; the last of a repeated name counts.
---@field query table<string, string?>
--- Header fields, names in lower case; repeated ones are joined with `, `.
---@field headers table<string, string?>
--- Cookies; the first of a repeated name counts.
---@field cookies table<string, string?>
--- The route's parameters, decoded.
---@field params table<string, string>
--- The client's address without the port; `unix` by a Unix-domain socket.
---@field remote string
--- The request's body, often empty.
---@field body string
local Req = {}

--- The token of `Authorization: Bearer TOKEN`.
---@return string? token nil without one
function Req:bearer() end

--- Allows so many events in so much time, for each key by itself.
---@class ws.Limiter
local Limiter = {}

--- Takes from the key's allowance, if there is enough in it.
---@param key string|number|ws.Conn
---@param cost? number 1 if left out; over `burst` raises
---@return boolean allowed
---@return number wait seconds until there is enough; nothing when allowed
function Limiter:allow(key, cost) end

--- What `ws.limiter` is made of.
---@class (exact) ws.LimiterOptions
--- So many events ...
---@field rate number
--- ... in so many seconds, 1 if left out.
---@field per? number
--- So many at once; `rate` if left out, 1 at least.
---@field burst? number

--- JSON both ways. Integers of 64 bits stay exact.
---@class ws.json
--- JSON's null, since nil can't be kept in a table.
---@field null lightuserdata
local json = {}

--- Makes text of a value. Raises on what JSON can't hold, and names its place.
---@param value any
---@return string text
function json.encode(value) end

--- Makes a value of text.
---@param text string
---@return any value nil if it is no JSON
---@return string? problem what is wrong with it, and where
function json.decode(text) end

--- Marks a table as a list, so that an empty one becomes `[]` and not `{}`.
---@generic T: table
---@param list? T a new table if left out
---@return T list the same table
function json.array(list) end

--- The script's own lines in the host's log.
---@class ws.log
local log = {}

--- For whoever looks for a mistake; shown with `--log-level debug`.
---@param text string
---@param fields? table<string, any> 14 at most
function log.debug(text, fields) end

--- Something worth knowing. `print` does the same.
---@param text string
---@param fields? table<string, any> 14 at most
function log.info(text, fields) end

--- Something is odd, and the script goes on.
---@param text string
---@param fields? table<string, any> 14 at most
function log.warn(text, fields) end

--- Something failed.
---@param text string
---@param fields? table<string, any> 14 at most
function log.error(text, fields) end

--- Who is running.
---@class ws.ScriptInfo
--- The script's path without `.lua`.
---@field name string
--- Which loaded version of the file this is, counted from 1.
---@field generation integer
--- What the script's `version` says.
---@field version integer

--- What a script can call. All times are in seconds.
---@class ws
--- Every connection of this script, without a join, from just before `open`.
---@field all ws.Room
--- Who is running: name, generation, version.
---@field script ws.ScriptInfo
--- The script's own section of `perigee.lua`, `{}` if it has none.
---@field config table<string, any>
---@field json ws.json JSON both ways.
---@field log ws.log The script's own lines in the host's log.
local ws = {}

--- A room of this script.
---@param name string
---@return ws.Room room
function ws.room(name) end

--- A room of the whole host: any script may speak into it, and members come from any.
---@param name string
---@return ws.Room room
function ws.shared(name) end

--- The live connection of this script that has this id.
---@param id string
---@return ws.Conn? conn nil if there is none (any more)
function ws.conn(id) end

--- Declares a table of plain data that belongs to the script rather than to its code. Only while
--- the file is loading; look into it from `start` on.
---@param name string
---@param defaults? table<any, ws.Plain> fills the keys that are missing
---@return table<any, any> state
function ws.state(name, defaults) end

--- Runs something later, once.
---@param seconds number
---@param name_or_fn string|fun(data: any) one of the script's `timers`, or a function
---@param data? ws.Plain copied, and what the function gets
---@return integer? id to cancel it by
---@return string? problem the limit that was reached
function ws.after(seconds, name_or_fn, data) end

--- Runs something again and again. There is one timer for each name (or function) and key: asked
--- again it keeps its beat and takes the new data.
---@param seconds number the period, 0.001 at least
---@param name_or_fn string|fun(data: any) one of the script's `timers`, or a function
---@param data? ws.Plain copied, and what the function gets
---@param key? string|number|ws.Conn tells timers of one name apart
---@return integer? id to cancel it by
---@return string? problem the limit that was reached
function ws.every(seconds, name_or_fn, data, key) end

--- Stops a timer.
---@param id integer
---@return true? cancelled nil if there is none of that id (any more)
function ws.cancel(id) end

--- Waits, while others go on; what you have looked at before may have changed. Not in `start`.
---@param seconds number 60 at most
function ws.sleep(seconds) end

--- The time of day: seconds since 1970, UTC, with fractions.
---@return number seconds
function ws.now() end

--- A clock that never jumps, to measure with.
---@return number seconds
function ws.monotonic() end

--- Ends `upgrade` at once with this answer, `return` or not. Raises anywhere else.
---@param status integer 300 to 599
---@param body? string|table a table goes as JSON
---@param headers? ws.Headers
function ws.reject(status, body, headers) end

--- Makes a limiter. Each starts full when the script is loaded.
---@param options ws.LimiterOptions
---@return ws.Limiter limiter
function ws.limiter(options) end

return ws
