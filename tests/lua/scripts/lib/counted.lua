local loads = (rawget(_G, "counted_loads") or 0) + 1
rawset(_G, "counted_loads", loads)
return { loads = loads, name = ..., ws = require "ws" }
