return { message = function() end }
