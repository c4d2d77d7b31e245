return { request = function() return 200, "only this" end, close = function() end }
