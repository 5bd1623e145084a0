// How pages follow the device: requests that say why they failed, and streams of events that notice when
// their connection dies. One notice on the page says meanwhile that the device does not answer.
"use strict";

const SILENCE = 45000; // milliseconds without a byte; the device sends a sign of life each 30 s
const PATIENCE = 15000; // milliseconds to wait for an answer
const LOOK = 5000; // milliseconds between two looks at the time
const RETRY = [1000, 2000, 5000]; // milliseconds until the next attempt
const NEXT = 300, ATTEMPTS = 6; // milliseconds until the same is asked on another connection, and how often

const notice = document.getElementById("live");

const pause = (wait) => new Promise((done) => { setTimeout(done, wait); });

// --- requests --------------------------------------------------------------------------------------

// The device refuses a request, and says why; `passing`: it may accept it later.
class Refused extends Error {
  constructor(status, name, message) {
    super(message);
    this.status = status;
    this.name = name;
    this.passing = status >= 500 || status === 429 || status === 408;
  }
}

// Returns the answer, whose body may follow. `within`: milliseconds to wait for it. Throws Refused, TypeError
// without an answer, AbortError.
async function request(method, path, { signal, within = PATIENCE, ...options } = {}) {
  const stop = new AbortController();
  const late = setTimeout(() => stop.abort(new TypeError("no answer")), within);
  if (signal) signal.addEventListener("abort", () => stop.abort(signal.reason));
  if (signal && signal.aborted) stop.abort(signal.reason);
  let answer;
  try {
    answer = await fetch(path, { method, redirect: "manual", cache: "no-store", signal: stop.signal, ...options });
  } finally {
    clearTimeout(late);
  }
  if (answer.ok) return answer;
  if (answer.type === "opaqueredirect") throw new Refused(401, "unauthenticated", "");
  const name = answer.headers.get("claraedge-error") || "";
  let message = `${answer.status} ${name}`;
  try { message = (await answer.json()).message || message; } catch { /* HEAD and pages have no such body */ }
  throw new Refused(answer.status, name, message);
}

// Returns once the device has answered. A connection that died while the machine slept answers nothing, and the
// browser may have several of them: each attempt gets another one, and the one that works is used next.
async function reached(signal) {
  const stops = [], attempts = [];
  const stop = () => { for (const one of stops) one.abort(); };
  signal.addEventListener("abort", stop);
  try {
    for (;;) {
      stops.push(new AbortController());
      attempts.push(request("GET", "/health/live", { signal: stops.at(-1).signal }).then((answer) => answer.text()));
      const isLast = attempts.length === ATTEMPTS;
      if (await Promise.race([...attempts, pause(isLast ? PATIENCE : NEXT)]) !== undefined) return;
      if (isLast) throw new TypeError("no answer");
    }
  } finally {
    stop();
  }
}

// --- what the page says ----------------------------------------------------------------------------

function say(text, language = document.documentElement.lang) {
  if (notice.textContent === text) return;
  notice.textContent = text;
  notice.lang = language;
}

function isChanged(field) {
  if (["checkbox", "radio"].includes(field.type)) return field.checked !== field.defaultChecked;
  return field.type !== "hidden" && field.value !== field.defaultValue;
}

// Leads to the page that signs in, and back to this one. What was entered here is not thrown away.
function signIn() {
  if (notice.firstElementChild !== null) return;
  const path = `/login?out=1&next=${encodeURIComponent(document.body.dataset.here)}`;
  if (![...document.querySelectorAll("input, textarea")].some(isChanged)) { location.replace(path); return; }
  const link = document.createElement("a");
  link.href = path;
  link.textContent = notice.dataset.signIn;
  say(`${notice.dataset.signedOut} `);
  notice.append(link);
}

// Says why the device cannot be asked. Returns whether it makes sense to ask again.
function explain(error) {
  if (!(error instanceof Refused)) { say(notice.dataset.lost); return true; }
  if (error.status === 401) signIn();
  else say(error.message, "en");
  return error.passing;
}

// --- streams ---------------------------------------------------------------------------------------

// Events while somebody sees the page. `path()`: their address. `heard(kind, data, id)` is called for each of
// them, and `begun` for each connection. `again`: what to do when the page becomes visible, or the device
// answers again; by default the stream is opened.
class Stream {
  constructor({ path, heard, begun = () => {}, again = () => this.open() }) {
    Object.assign(this, { path, heard, begun, again });
    this.reading = null; // AbortController of what is open or being opened
    this.timer = null;
    this.failures = 0;
  }

  get isOpen() {
    return this.reading !== null;
  }

  // Opens it again whenever the page becomes visible; `hidden` is called when it is not visible any more.
  turn(hidden = () => {}) {
    const turn = () => {
      this.close();
      hidden();
      this.renew();
    };
    document.addEventListener("visibilitychange", turn);
    window.addEventListener("pagehide", () => { this.close(); hidden(); });
    window.addEventListener("pageshow", (event) => { if (event.persisted) turn(); });
    window.addEventListener("online", turn);
  }

  close() {
    clearTimeout(this.timer);
    const reading = this.reading;
    this.reading = null;
    if (reading !== null) reading.abort();
  }

  async renew() {
    this.close();
    if (document.hidden) return;
    const reading = (this.reading = new AbortController());
    try {
      await reached(reading.signal);
    } catch (error) {
      if (this.reading === reading) this.lost(error);
      return;
    }
    if (this.reading !== reading) return;
    this.reading = null;
    this.again();
  }

  async open() {
    this.close();
    if (document.hidden) return;
    const reading = (this.reading = new AbortController());
    this.last = Date.now();
    // Timers stand still while a machine sleeps; this time does not.
    const watch = setInterval(() => {
      if (Date.now() - this.last > SILENCE) reading.abort(new TypeError("no sign of life"));
    }, LOOK);
    try {
      const answer = await request("GET", this.path(), { headers: { Accept: "text/event-stream" }, signal: reading.signal });
      say("");
      this.begun();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      while (this.reading === reading) {
        const { done, value } = await reader.read();
        if (done) throw new TypeError("the stream was cut");
        this.last = Date.now();
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) if (this.reading === reading) this.take(block);
      }
    } catch (error) {
      if (this.reading === reading) this.lost(error);
    } finally {
      clearInterval(watch);
    }
  }

  take(block) {
    const fields = Object.fromEntries(block.split("\n").map((line) => /^(\w*): ?(.*)$/.exec(line)?.slice(1) ?? [""]));
    if (fields.data === undefined) return; // a sign of life
    const data = JSON.parse(fields.data);
    if (fields.event === "failure") throw new Refused(data.code === "unauthenticated" ? 401 : 503, data.code, data.message);
    this.failures = 0;
    this.heard(fields.event, data, fields.id);
  }

  // Says why there is no answer, and asks again after some time.
  lost(error) {
    this.close();
    if (!explain(error)) return;
    this.timer = setTimeout(() => this.renew(), RETRY[Math.min(this.failures++, RETRY.length - 1)]);
  }
}
