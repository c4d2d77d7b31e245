-- The field `protocols`: best first, the first that the client offers is taken.
return {
  protocols = { "feed.v2", "feed.v1" },
  open = function(conn)
    conn:send { protocol = conn.protocol }
  end,
}
