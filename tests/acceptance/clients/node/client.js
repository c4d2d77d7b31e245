// ws of npm as a client of the host. The contract is in ../README.md.
import { once } from "node:events";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import WebSocket from "ws";

const [base, mode, ca, list] = process.argv.slice(2);
const sizes = list.split(",").map(Number);
const pieces = 13;
const options = { perMessageDeflate: mode === "compressed", ca: ca ? readFileSync(ca) : undefined };

const text = (size) => "aé漢😀".repeat(Math.floor(size / 10)) + "x".repeat(size % 10);
const binary = (size) => Buffer.alloc(size).map((_, i) => i & 0xff);

function check(holds, what) {
  if (!holds) throw new Error(what);
}

async function open(path) {
  const socket = new WebSocket(base + path, options);
  await once(socket, "open");
  return socket;
}

/** The whole message, or in odd fragments, which may cut a character. */
function send(socket, bytes, isBinary, inFragments) {
  const step = inFragments ? Math.floor(bytes.length / pieces) + 1 : bytes.length + 1;
  for (let at = 0; ; at += step) {
    const fin = at + step >= bytes.length;
    socket.send(bytes.subarray(at, at + step), { binary: isBinary, fin });
    if (fin) return;
  }
}

async function echo(socket, data, inFragments) {
  const isBinary = typeof data !== "string";
  const bytes = Buffer.from(data);
  const answer = once(socket, "message");
  send(socket, bytes, isBinary, inFragments);
  const [got, gotBinary] = await answer;
  check(gotBinary === isBinary && bytes.equals(got), `${bytes.length} bytes came back otherwise`);
}

async function main() {
  const { version } = createRequire(import.meta.url)("ws/package.json");
  console.log(`version: ws ${version}, Node ${process.versions.node}`);

  let socket = await open("/echo");
  let count = 0;
  for (const size of sizes) {
    for (const data of [text(size), binary(size)]) {
      await echo(socket, data, false);
      await echo(socket, data, true);
      count++;
    }
  }
  console.log(`echo: ${count}`);
  console.log(`fragments: ${count}`);
  const pong = once(socket, "pong");
  socket.ping("are you there");
  check((await pong)[0].equals(Buffer.from("are you there")), "another pong");
  console.log("ping: ok");
  socket.close();

  socket = await open("/ends");
  let closed = once(socket, "close");
  socket.close(4000, "client first");
  console.log(`client_first: ${(await closed)[0]}`);

  socket = await open("/ends");
  closed = once(socket, "close");
  socket.send("4001 server first");
  const [code, reason] = await closed;
  console.log(`server_first: ${code} ${reason}`);
}

await main();
