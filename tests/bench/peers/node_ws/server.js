// Node's ws with bufferutil, one process: an echo at /echo; at /broadcast what anyone sends goes to all.
//
//     node server.js [--deflate] [--tls CERT KEY]
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const { WebSocketServer } = require("ws");

require("bufferutil"); // ws goes on without it, and more slowly, and says nothing

const args = process.argv.slice(2);
const tls = args.indexOf("--tls");
const server =
  tls < 0
    ? http.createServer()
    : https.createServer({
        cert: fs.readFileSync(args[tls + 1]),
        key: fs.readFileSync(args[tls + 2]),
      });

// As perigee has it: no context is kept, so that both compress in the same way.
const perMessageDeflate = args.includes("--deflate") && {
  serverNoContextTakeover: true,
  clientNoContextTakeover: true,
  serverMaxWindowBits: 12,
  threshold: 1024,
};

const wss = new WebSocketServer({ server, perMessageDeflate });
wss.on("connection", (socket, request) => {
  const all = request.url === "/broadcast";
  socket.on("message", (data, binary) => {
    if (!all) {
      socket.send(data, { binary });
      return;
    }
    for (const member of wss.clients) {
      member.send(data, { binary });
    }
  });
  socket.on("error", () => socket.terminate());
});
server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
