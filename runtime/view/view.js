// The page: one WebSocket, one picture with a divider, and the figures around it.
import { LatencyChart, percentile } from "./chart.js";

const STALE_MS = 1000;
const RETRY_MS = [300, 600, 1200, 2500];

const STATES = {
  deblurred: "deblurred",
  pass_sharp: "passed: sharp already",
  pass_deadline: "passed: not done in time",
  pass_admission: "passed: no time to start",
  pass_superseded: "passed: newer frame came",
  pass_fault: "passed: network at fault",
  pass_warmup: "passed: warming up",
  pass_shape: "passed: size not supported",
  dropped_policy: "dropped by policy",
  dropped_shutdown: "dropped at the end",
};

const byId = (id) => document.getElementById(id);
const labelOf = (state) => STATES[state] ?? state.replaceAll("_", " ");
const colors = new Map();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { colors.clear(); chart.draw(); });
function colorOf(state) {
  if (!colors.has(state)) {
    const style = getComputedStyle(document.documentElement);
    colors.set(state, style.getPropertyValue(`--${state}`).trim() || style.getPropertyValue("--other").trim());
  }
  return colors.get(state);
}

const canvas = byId("picture"), stage = byId("stage"), split = byId("split"), veil = byId("veil");
const context = canvas.getContext("2d", { alpha: false });
const chart = new LatencyChart(byId("chart"), colorOf);

// ---- the picture ------------------------------------------------------------------------------

let shown = null; // {untouched, restored, head}
let ageAt = null; // when the newest frame was captured, on this page's clock
let isHeld = false;

const decode = window.createImageBitmap
  ? (blob) => createImageBitmap(blob)
  : (blob) => new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => { URL.revokeObjectURL(image.src); resolve(image); };
      image.onerror = () => { URL.revokeObjectURL(image.src); reject(new Error("picture not readable")); };
      image.src = URL.createObjectURL(blob);
    });

async function showPicture(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const [untouchedBytes, restoredBytes] = head.lengths;
  const start = 4 + length;
  const jpeg = (from, bytes) => new Blob([new Uint8Array(buffer, from, bytes)], { type: "image/jpeg" });
  const pictures = await Promise.all([
    decode(jpeg(start, untouchedBytes)),
    restoredBytes ? decode(jpeg(start + untouchedBytes, restoredBytes)) : null,
  ]);
  frameTimes.push(performance.now());
  const came = { untouched: pictures[0], restored: pictures[1], head };
  if (isHeld && shown) return release(came);
  release(shown);
  shown = came;
  draw();
  canvas.dispatchEvent(new Event("drawn"));
  showCaption(head);
}

function release(pictures) {
  pictures?.untouched.close?.();
  pictures?.restored?.close?.();
}

function draw() {
  if (!shown) return;
  const { untouched, restored } = shown;
  const largest = restored && restored.width > untouched.width ? restored : untouched;
  if (canvas.width !== largest.width || canvas.height !== largest.height) {
    canvas.width = largest.width;
    canvas.height = largest.height;
  }
  const at = Math.round(canvas.width * splitShare());
  if (at > 0 || !restored) context.drawImage(untouched, 0, 0, canvas.width, canvas.height);
  if (restored && at < canvas.width) {
    const from = at * restored.width / canvas.width;
    context.drawImage(restored, from, 0, restored.width - from, restored.height, at, 0, canvas.width - at, canvas.height);
  }
  stage.classList.remove("empty");
}

const splitShare = () => split.valueAsNumber / 1000;

/** Keep the divider on the picture, which may be narrower than its frame. */
function placeDivider() {
  const ratio = Math.min(stage.clientWidth / canvas.width, stage.clientHeight / canvas.height);
  const width = canvas.width * ratio, edge = (stage.clientWidth - width) / 2;
  split.style.left = `${edge}px`;
  split.style.width = `${width}px`;
  byId("divider").style.left = `${edge + width * splitShare()}px`;
  document.querySelector(".tag.left").style.opacity = splitShare() < 0.12 ? 0 : 1;
  document.querySelector(".tag.right").style.opacity = splitShare() > 0.88 ? 0 : 1;
}
split.addEventListener("input", () => { draw(); placeDivider(); });
new ResizeObserver(placeDivider).observe(stage);
new ResizeObserver(placeDivider).observe(canvas);

function showCaption(head) {
  const state = byId("state");
  setText(state, labelOf(head.state));
  state.style.setProperty("--mark", colorOf(head.state));
  const size = `${head.size[1]} × ${head.size[0]}`;
  const facts = [`frame ${head.seq}`, head.restored_size && head.restored_size[1] !== head.size[1]
    ? `${size} to ${head.restored_size[1]} × ${head.restored_size[0]}` : size];
  if (head.reason) facts.push(head.reason);
  setText(byId("facts"), facts.join(" · "));
  setText(byId("right-tag"), head.restored_size ? "restored" : "passed untouched");
}

// ---- the figures ------------------------------------------------------------------------------

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

const milliseconds = (ms) => (ms === null ? "–" : ms < 10 ? ms.toFixed(1) : ms.toFixed(0));
const percent = (share) => `${(100 * share).toFixed(1)} %`;

let figuresAreDue = false;
let states = {};
let hasAccount = false; // the status counts frames without a picture too; where it comes it decides
let account = null; // the latency of all frames, which knows more percentiles than the frames shown
let stream = null;

function takeTurn(turn) {
  if (turn.stream !== stream) {
    stream = turn.stream;
    hasAccount = false;
    account = null;
    chart.clear();
  }
  if (turn.outcomes?.length) {
    chart.add(turn.outcomes);
    if (!hasAccount) states = turn.states;
    figuresAreDue = true;
  }
  if (turn.age_ms !== undefined) ageAt = performance.now() - turn.age_ms;
  if (turn.status) showStatus(turn.status);
  showStreams(turn.streams);
  setText(byId("viewers"), turn.viewers === 1 ? "1 viewer" : `${turn.viewers} viewers`);
}

/** Figures change with every frame; people read them a few times a second. */
function showFigures() {
  if (!figuresAreDue) return;
  figuresAreDue = false;
  chart.draw();
  const sorted = chart.sorted();
  const latency = account ?? {
    count: sorted.length, p50: percentile(sorted, 0.5), p90: percentile(sorted, 0.9), p99: percentile(sorted, 0.99),
    max: sorted.length ? sorted[sorted.length - 1] : null,
  };
  const { count, ...rows } = latency;
  byId("percentiles").replaceChildren(...Object.entries(rows).map(([name, ms]) => {
    const row = document.createElement("div");
    row.append(element("dt", name), element("dd", milliseconds(ms)));
    if (ms === null) row.title = `n too small: ${textOf(count)} frames`;
    return row;
  }));
  setText(byId("deadline"), `${account ? "all" : "last"} ${textOf(count)} frames, ms` +
    (chart.deadline === null ? "" : ` · deadline ${milliseconds(chart.deadline)}`));
  showStates();
}

function showStates() {
  const order = Object.keys(STATES);
  const place = (state) => (order.indexOf(state) + order.length + 1) % (order.length + 1);
  const counted = Object.entries(states).filter(([, count]) => count).sort(([a], [b]) => place(a) - place(b));
  const total = counted.reduce((sum, [, count]) => sum + count, 0);
  setText(byId("total"), total.toLocaleString("en"));
  byId("states").replaceChildren(...counted.map(([state, count]) => {
    const part = document.createElement("i");
    part.style.flexGrow = count;
    part.style.setProperty("--mark", colorOf(state));
    part.title = `${labelOf(state)}: ${count}`;
    return part;
  }));
  byId("legend").replaceChildren(...counted.map(([state, count]) => {
    const row = document.createElement("li");
    row.style.setProperty("--mark", colorOf(state));
    const share = 100 * count / total;
    row.append(element("span", labelOf(state)), element("b", count.toLocaleString("en")),
      element("small", `${share > 0 && share < 0.1 ? "< 0.1" : share.toFixed(1)} %`));
    return row;
  }));
}

function showStreams(names) {
  const select = byId("stream");
  select.hidden = names.length < 2;
  const former = Array.from(select.options, (option) => option.value);
  if (former.join("\n") !== names.join("\n")) {
    select.replaceChildren(...names.map((name) => new Option(name, name, false, name === stream)));
  }
}

const textOf = (value) => (value !== null && typeof value === "object"
  ? Object.entries(value).filter(([, item]) => item).map(([key, item]) => `${key} ${textOf(item)}`).join(", ") || "0"
  : typeof value === "number" ? value.toLocaleString("en") : String(value));

function showFacts(id, facts) {
  byId(`${id}-card`).hidden = !Object.keys(facts ?? {}).length;
  byId(id).replaceChildren(...Object.entries(facts ?? {}).flatMap(
    ([name, value]) => [element("dt", name), element("dd", textOf(value))]));
}

function showStatus(status) {
  setText(byId("model"), [status.model, status.backend].filter(Boolean).join(" · "));
  document.title = status.model ? `deblurrt · ${status.model}` : "deblurrt";
  showFacts("device", status.device);
  showFacts("outputs", status.sinks);
  const rows = (status.streams ?? []).map((source) => {
    const row = document.createElement("li");
    const name = element("b", source.stream ?? "source");
    name.dataset.health = source.health ?? "";
    const facts = [source.health, source.fps && `${Number(source.fps).toFixed(1)} fps`,
      source.captured !== undefined && `${textOf(source.captured)} captured`,
      source.reconnects !== undefined && `${source.reconnects} reconnect${source.reconnects === 1 ? "" : "s"}`,
      typeof source.deblur_coverage === "number" && `${percent(source.deblur_coverage)} deblurred`,
      typeof source.deadline_miss_rate === "number" && `${percent(source.deadline_miss_rate)} late`,
      source.stall_s > 0 && `stalled ${source.stall_s.toFixed(1)} s`];
    row.append(name, element("p", facts.filter(Boolean).join(" · ")));
    if (source.reason) row.append(element("p", source.reason));
    if (source.stream === stream && source.states) {
      states = source.states;
      account = source.latency_ms ?? null;
      hasAccount = figuresAreDue = true;
    }
    return row;
  });
  if (rows.length) byId("sources").replaceChildren(...rows);
}

// ---- age of the picture, frame rate, connection -----------------------------------------------

const frameTimes = [];
const pill = byId("connection");

function showPulse() {
  const now = performance.now();
  while (frameTimes.length && frameTimes[0] < now - 2000) frameTimes.shift();
  const age = ageAt === null ? null : now - ageAt;
  const isStale = age !== null && age > STALE_MS;
  stage.classList.toggle("stale", isStale || (shown !== null && !isOpen));
  if (!isOpen) setPill("lost", "connection lost, trying again");
  else if (age === null) setPill("connecting", "waiting for frames");
  else if (isStale) setPill("lost", "no new frames");
  else setPill("streaming", `live · ${(frameTimes.length / 2).toFixed(1)} fps`);
  setText(veil, !shown ? (isOpen ? "waiting for the first frame" : "connecting")
    : isStale || !isOpen ? `this picture is ${ageText(age)} old` : isHeld ? "held" : "");
}

const ageText = (ms) => (ms < 60000 ? `${(ms / 1000).toFixed(ms < 10000 ? 1 : 0)} s` : `${Math.floor(ms / 60000)} min`);

function setPill(health, text) {
  pill.dataset.health = health;
  setText(pill, text);
}

// ---- the WebSocket ----------------------------------------------------------------------------

let socket = null, isOpen = false, failures = 0, owed = 0;

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    isOpen = true;
    failures = owed = 0;
    chart.clear();
    if (byId("reduction").value !== "1") send({ reduction: Number(byId("reduction").value) });
    if (stream && byId("stream").options.length > 1) send({ watch: stream });
  };
  socket.onmessage = async ({ data }) => {
    if (typeof data === "string") {
      const turn = JSON.parse(data);
      takeTurn(turn);
      if (turn.picture) return;
    } else {
      await showPicture(data).catch((error) => console.warn(error));
    }
    owed += 1;
    pay();
  };
  socket.onclose = () => {
    isOpen = false;
    setTimeout(connect, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
    showPulse();
  };
}

function send(message) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

/** Ask for as many turns as were shown; a page nobody looks at asks for none. */
function pay() {
  if (!owed || document.hidden) return;
  send({ credit: owed });
  owed = 0;
}
document.addEventListener("visibilitychange", pay);

// ---- controls ---------------------------------------------------------------------------------

byId("reduction").addEventListener("change", ({ target }) => send({ reduction: Number(target.value) }));
byId("stream").addEventListener("change", ({ target }) => send({ watch: target.value }));

function toggleHold() {
  isHeld = !isHeld;
  byId("hold").setAttribute("aria-pressed", isHeld);
  showPulse();
}
byId("hold").addEventListener("click", toggleHold);

function toggleFull() {
  if (document.fullscreenElement) document.exitFullscreen();
  else stage.requestFullscreen?.();
}
byId("full").addEventListener("click", toggleFull);
byId("full").hidden = !stage.requestFullscreen;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("button, select")) return;
  if (event.key === " ") { event.preventDefault(); toggleHold(); }
  if (event.key === "f") toggleFull();
});

connect();
placeDivider();
setInterval(showFigures, 200);
setInterval(showPulse, 250);
