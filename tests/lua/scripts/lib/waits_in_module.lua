require("ws").sleep(0)
