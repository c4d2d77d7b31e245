--- The page for whoever has no token, or a wrong one.
return [[
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta http-equiv="Content-Security-Policy"
    content="default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>Members only</title>
  <link rel="icon" href="/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="/look.css">
</head>
<body>
  <header>
    <img src="/icon.svg" alt="" width="32" height="32">
    <h1>Members only</h1>
  </header>
  <main>
    <form class="card" action="/members/" method="get">
      <h2>Your token, please</h2>
      <p>Whoever runs this host has one for you: it is in <code>perigee.lua</code>.</p>
      <label for="token">Token</label>
      <div class="row">
        <input id="token" name="token" required autocomplete="off" autocapitalize="none"
          spellcheck="false">
        <button type="submit">Come in</button>
      </div>
    </form>
  </main>
</body>
</html>
]]
