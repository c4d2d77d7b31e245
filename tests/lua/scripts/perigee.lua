return {
  limits = { room_name_bytes = 100 },
  scripts = {
    config = {
      greeting = "hello",
      big = math.maxinteger,
      ratio = 0.5,
      list = { 1, 2, { deep = true } },
    },
    ["deep/inside"] = { here = "yes" },
  },
}
