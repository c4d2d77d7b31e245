-- What decides about this host: perigee.service hands it over as --config. Each line is a default.
-- All settings and limits: /usr/share/doc/perigee/docs/configuration.md, or `perigee serve --help`.
-- Read at the start, so `systemctl restart perigee` after a change. Where the service listens is
-- said by perigee.socket.

return {
  -- log_level = "info",

  limits = {
    -- message_bytes = "1 MiB",
    -- outbox_total = "256 MiB",
  },

  scripts = {
    -- ["games/quiz"] = { rounds = 5 }, -- scripts/games/quiz.lua reads it as ws.config
  },
}
