// The page of feed.lua. What comes is only noted; the document changes once a frame, however many
// readings there were. Texts reach it through textContent only: they stay text.
import { connect } from "./perigee.js";

const POINTS = 60; // of a curve
const STATES = { connecting: "Connecting", open: "Online", waiting: "Offline", closed: "Closed" };

const element = (id) => document.getElementById(id);
const devices = new Map(); // by name: what is known, and where it is shown
const changed = new Set();
let readings = 0; // since the rate was shown
let missed = 0;
let held = false;

function add(name) {
  const place = document.createElement("li");
  const label = document.createElement("span");
  const value = document.createElement("strong");
  const curve = document.createElement("canvas");
  label.textContent = name;
  curve.setAttribute("aria-hidden", "true");
  place.append(label, value, curve);
  element("devices").append(place);
  const device = { place, value, curve, points: [] };
  devices.set(name, device);
  return device;
}

function remove(name) {
  devices.get(name)?.place.remove();
  devices.delete(name);
}

function note(name, value) {
  if (value === null) return remove(name);
  const device = devices.get(name) ?? add(name);
  device.points.push(value);
  if (device.points.length > POINTS) device.points.shift();
  changed.add(device);
}

function draw({ curve, points }) {
  const scale = devicePixelRatio;
  const [width, height] = [curve.clientWidth * scale, curve.clientHeight * scale];
  if (curve.width !== width || curve.height !== height) [curve.width, curve.height] = [width, height];
  const context = curve.getContext("2d");
  const [low, high] = [Math.min(...points), Math.max(...points)];
  const y = (value) => height - 2 * scale - ((value - low) / (high - low || 1)) * (height - 4 * scale);
  context.clearRect(0, 0, width, height);
  context.strokeStyle = getComputedStyle(curve).color;
  context.lineWidth = 1.5 * scale;
  context.beginPath();
  points.forEach((value, i) => context.lineTo((i * width) / (POINTS - 1), y(value)));
  context.stroke();
}

function frame() {
  requestAnimationFrame(frame);
  if (held) return;
  for (const device of changed) {
    device.value.textContent = device.points.at(-1).toFixed(2);
    draw(device);
  }
  changed.clear();
}

const link = connect("feed");

link.on("state", (state) => {
  document.body.dataset.state = state;
  element("status").textContent = STATES[state];
});

link.on("message", (message) => {
  if (message.readings) {
    for (const name of [...devices.keys()]) remove(name);
    for (const [name, value] of Object.entries(message.readings)) note(name, value);
  } else if (message.missed) {
    missed += message.missed;
  } else if (message.device) {
    readings += 1;
    note(message.device, message.value);
  }
});

let since = performance.now();
setInterval(() => {
  const now = performance.now();
  element("rate").textContent = Math.round((readings * 1000) / (now - since)).toLocaleString("en");
  element("count").textContent = devices.size;
  element("missed").textContent = missed.toLocaleString("en");
  element("none").hidden = devices.size > 0;
  [readings, since] = [0, now];
}, 1000);

element("hold").addEventListener("click", () => {
  held = !held;
  element("hold").setAttribute("aria-pressed", held);
});

requestAnimationFrame(frame);
