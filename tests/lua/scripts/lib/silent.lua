rawset(_G, "silent_ran", true)
