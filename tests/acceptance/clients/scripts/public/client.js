// A browser as a client of the host: client.html?sizes=0,1,... posts its lines to /said. The
// contract is in README.md of the clients.
const base = location.origin.replace(/^http/, "ws");
const sizes = new URLSearchParams(location.search).get("sizes").split(",").map(Number);
const lines = [];

const text = (size) => "aé漢😀".repeat(Math.floor(size / 10)) + "x".repeat(size % 10);
const binary = (size) => new Uint8Array(size).map((_, i) => i & 0xff);

const next = (socket, name) =>
  new Promise((resolve, reject) => {
    socket.addEventListener(name, resolve, { once: true });
    socket.addEventListener("error", () => reject(new Error(`an error instead of ${name}`)));
  });

async function open(path) {
  const socket = new WebSocket(base + path);
  socket.binaryType = "arraybuffer";
  await next(socket, "open");
  return socket;
}

function equal(a, b) {
  if (typeof a === "string") return a === b;
  const other = new Uint8Array(b);
  return a.length === other.length && a.every((byte, i) => byte === other[i]);
}

async function echo(socket, data) {
  const answer = next(socket, "message");
  socket.send(data);
  if (!equal(data, (await answer).data)) throw new Error(`${data.length} came back otherwise`);
}

async function run() {
  let socket = await open("/echo");
  let count = 0;
  for (const size of sizes) {
    await echo(socket, text(size));
    await echo(socket, binary(size));
    count += 2;
  }
  lines.push(`echo: ${count}`, "fragments: a page can't ask for any", "ping: a page can't");
  if (socket.extensions) lines.push(`extensions: ${socket.extensions}`);
  socket.close();

  socket = await open("/ends");
  let closed = next(socket, "close");
  socket.close(4000, "client first");
  lines.push(`client_first: ${(await closed).code}`);

  socket = await open("/ends");
  closed = next(socket, "close");
  socket.send("4001 server first");
  const end = await closed;
  lines.push(`server_first: ${end.code} ${end.reason}`);
}

try {
  await run();
} catch (error) {
  lines.push(`failed: ${error.message}`);
}
await fetch("/said", { method: "POST", body: JSON.stringify(lines) });
