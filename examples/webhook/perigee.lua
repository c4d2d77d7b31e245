return {
  scripts = {
    hook = { token = "change-me" }, -- whoever knows it may post
  },
}
