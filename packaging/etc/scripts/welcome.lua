-- Served at / until you have something better: a page that says where things are, and an echo for
-- WebSockets. Change it, or delete it and put your own scripts beside it: the host sees it as it is
-- saved. How scripts are written: /usr/share/doc/perigee/docs/scripting.md.

local PAGE = [[
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>perigee</title>
<style>
  body {
    font: 1.1rem/1.5 system-ui, sans-serif; max-width: 38rem; margin: 15vh auto; padding: 0 1rem;
  }
</style>
<h1>perigee runs</h1>
<p>This page is <code>/etc/perigee/scripts/welcome.lua</code>. Put your own scripts beside it:
each answers at its name. Samples to copy are in <code>/usr/share/perigee/scripts</code>, and
<code>man perigee</code> says more.</p>
</html>
]]

return {
  route = "/",

  request = function()
    return 200, PAGE, { ["content-type"] = "text/html; charset=utf-8" }
  end,

  message = function(conn, data, kind)
    conn:send(data, kind)
  end,
}
