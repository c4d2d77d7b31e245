return {
  scripts = {
    members = {
      tokens = { -- make your own, as with: openssl rand -hex 16
        ["token-of-ann"] = "Ann",
        ["token-of-bo"] = "Bo",
      },
    },
  },
}
