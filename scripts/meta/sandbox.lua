---@meta _

--- What scripts have of two of Lua's libraries, for editors. The .luarc.json switches off what an
--- editor knows of them by itself, and of `io` and `package`, which scripts don't have.

--- Of `debug`, scripts have `traceback`.
---@class debuglib
debug = {}

--- The call stack as text, with `message` in front of it.
---@param message? string
---@param level? integer from which function on, 1: the one that calls this
---@return string traceback
---@overload fun(thread: thread, message?: string, level?: integer): string
function debug.traceback(message, level) end

--- Of `os`, scripts have what tells the time.
---@class oslib
os = {}

--- Seconds of processor time that the host has used.
---@return number seconds
function os.clock() end

--- A time as text, or as a table with the format `"*t"`.
---@param format? string as C's strftime; `!` in front: UTC
---@param time? integer now if left out
---@return string|osdate date
function os.date(format, time) end

--- The seconds between two times.
---@param t2 integer
---@param t1 integer
---@return number seconds
function os.difftime(t2, t1) end

--- Seconds since 1970; of the local time in a table with year, month and day, if one is given.
---@param date? table<string, integer|boolean>
---@return integer time
function os.time(date) end
