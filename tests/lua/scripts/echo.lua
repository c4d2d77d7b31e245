return {
  message = function(conn, data, kind)
    conn:send(data, kind)
  end,
}
