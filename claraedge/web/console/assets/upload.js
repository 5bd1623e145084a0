// Sends files and folders by tus 1.0: into a trigger's folder, where all of them appear together, or to a
// new job. A lost connection is waited for, and each file continues where it was.
"use strict";

const PARALLEL = 3; // a browser opens six connections to a host at most
const LEAST = 256 << 10, FIRST = 1 << 20, LARGEST = 16 << 20; // bytes of a request
const AGAIN = [1000, 2000, 5000, 10000]; // milliseconds until the next attempt
const TUS = { "Tus-Resumable": "1.0.0" };
const LONG = 60000; // milliseconds for a part of a file, and for what makes all of them appear

// --- files -----------------------------------------------------------------------------------------

// Returns the files of a drop, with their paths below what was dropped.
async function dropped(transfer) {
  const found = [];
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry());
  if (entries.some((entry) => !entry)) return [...transfer.files].map((file) => ({ file, path: file.name }));
  while (entries.length > 0) {
    const entry = entries.shift();
    if (entry.isFile) {
      const file = await new Promise((done, failed) => entry.file(done, failed));
      found.push({ file, path: entry.fullPath.replace(/^\//, "") });
    } else {
      const reader = entry.createReader();
      for (;;) { // each call returns a part of the folder
        const part = await new Promise((done, failed) => reader.readEntries(done, failed));
        if (part.length === 0) break;
        entries.push(...part);
      }
    }
  }
  return found;
}

const chosenIn = (input) => [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));

function sizeOf(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) { bytes /= 1024; unit += 1; }
  return `${new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: unit ? 1 : 0 }).format(bytes)} ${units[unit]}`;
}

const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

// Shows words of the page, and after them what the device says, which is in English.
function tell(element, own, message = "") {
  const text = document.createElement("span");
  text.lang = "en";
  text.textContent = message;
  element.replaceChildren(own, " ", text);
}

const asJson = (value) => ({ headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) });

// --- one file --------------------------------------------------------------------------------------

class Upload {
  constructor(file, path) {
    this.file = file;
    this.path = path;
    this.state = "waiting"; // sending, done, left, failed
    this.offset = 0;
    this.address = null;
    this.why = []; // words of the page, and what the device says
    this.row = null;
    this.tried = false; // an attempt to begin had no answer
    this.sending = 0;
    this.wasWhole = false;
  }

  // Sends what is missing. Throws Refused, TypeError without a connection, AbortError.
  async send(root, signal, progressed) {
    if (this.address === null) {
      const tried = this.tried;
      if (tried) this.address = await this.begun(root, signal);
      if (this.address !== null) return this.send(root, signal, progressed);
      try {
        await this.begin(root, signal);
      } catch (error) {
        if (error.name !== "name-taken") throw error;
        // An answer was lost, perhaps of a request that the browser has sent twice by itself: the device has an
        // upload of this file, or all of it.
        this.address = await this.begun(root, signal);
        if (this.address !== null) return this.send(root, signal, progressed);
        if (!this.wasWhole && !(tried && this.file.size === 0)) throw error;
        this.offset = this.file.size;
        return;
      }
    } else {
      try {
        const answer = await request("HEAD", this.address, { headers: TUS, signal });
        this.offset = Number(answer.headers.get("Upload-Offset"));
      } catch (error) {
        if (!(error instanceof Refused) || error.status !== 404) throw error;
        this.wasWhole = this.offset + this.sending >= this.file.size;
        this.address = null;
        this.offset = 0;
        return this.send(root, signal, progressed);
      }
    }
    let step = FIRST;
    while (this.offset < this.file.size) {
      progressed();
      const body = await this.bytes(this.offset, step);
      const began = performance.now();
      this.sending = body.byteLength;
      const answer = await request("PATCH", this.address, {
        headers: { ...TUS, "Upload-Offset": String(this.offset), "Content-Type": "application/offset+octet-stream" },
        body, signal, within: LONG,
      });
      this.offset = Number(answer.headers.get("Upload-Offset"));
      const took = performance.now() - began;
      if (took < 1000) step = Math.min(step * 2, LARGEST);
      if (took > 4000) step = Math.max(step / 2, LEAST);
    }
  }

  get note() {
    return `relativePath ${base64(this.path)}`;
  }

  async begin(root, signal) {
    this.tried = true;
    const answer = await request("POST", `${root}/uploads`, {
      headers: { ...TUS, "Upload-Length": String(this.file.size), "Upload-Metadata": this.note },
      signal,
    });
    this.address = answer.headers.get("Location");
    [this.offset, this.sending, this.tried] = [0, 0, false];
  }

  // Returns the address of the upload of this file that was begun before; null if there is none.
  async begun(root, signal) {
    const [, , kind, id] = root.split("/");
    const answer = await request("GET", `/v1/uploads?${kind === "drops" ? "dropId" : "payloadId"}=${id}`, { signal });
    const found = (await answer.json()).find((one) => one.note === this.note && Number(one.size) === this.file.size);
    return found === undefined ? null : `${root}/uploads/${found.id}`;
  }

  // Reads a part of the file, which may be gone or changed meanwhile.
  async bytes(start, step) {
    try {
      return await this.file.slice(start, start + step).arrayBuffer();
    } catch {
      throw new Refused(0, "unreadable", "");
    }
  }
}

// --- all of them -----------------------------------------------------------------------------------

function sending(area) {
  const form = area.closest("form");
  const isDrop = form.dataset.upload === "drop";
  const part = (selector) => area.querySelector(selector);
  const button = (name) => part(`[data-do="${name}"]`);
  const words = (key, fields = {}) =>
    area.dataset[`t${key[0].toUpperCase()}${key.slice(1)}`].replace(/\{(\w+)\}/g, (_, name) => fields[name]);
  function whyOf(error) {
    if (!(error instanceof Refused)) return [words("lost")];
    if (error.name === "unreadable") return [words("unreadable")];
    if (error.status === 401) return [words("signed")];
    return [error.passing ? words("waits") : "", error.message];
  }

  const plain = [...form.querySelectorAll("button:not([type])")];
  let uploads = [];
  let place = null; // the path of the drop or payload
  let job = null;
  let phase = "choosing"; // sending, paused, problems, finishing, done
  let stop = null; // AbortController of what is being sent

  // --- choosing ---

  function grouping() {
    const field = form.querySelector('[name="folder"]:checked');
    return field === null ? "" : field.dataset.grouping;
  }

  const loose = () => uploads.filter((one) => !one.path.includes("/"));

  function add(found) {
    if (phase !== "choosing") return;
    const known = new Set(uploads.map((one) => one.path));
    let twice = 0;
    for (const { file, path } of found) {
      if (known.has(path)) { twice += 1; continue; }
      known.add(path);
      uploads.push(new Upload(file, path));
    }
    showChosen(twice);
  }

  function showChosen(twice = 0) {
    const size = uploads.reduce((sum, one) => sum + one.file.size, 0);
    const texts = [];
    const [kind, several] = [grouping(), loose().length];
    const must = isDrop && kind === "folder" && several > 0;
    const field = part("#together");
    part(".together").hidden = !(isDrop && (must || (kind === "entry" && several > 1)));
    field.required = must;
    if (must && field.value === "") field.value = words("together");
    if (uploads.length > 0) texts.push(words("chosen", { total: uploads.length, size: sizeOf(size) }));
    if (isDrop && kind !== "" && uploads.length > 0) texts.push(words("items", { number: items(kind) }));
    if (twice > 0) texts.push(words("twice"));
    part(".chosen").textContent = texts.join(" ");
    button("start").disabled = uploads.length === 0 || (isDrop && form.querySelector('[name="folder"]:checked') === null);
    button("clear").hidden = uploads.length === 0;
    for (const one of plain) one.hidden = uploads.length > 0;
  }

  // How many jobs the files become, where that is known.
  function items(kind) {
    if (kind === "file") return uploads.length;
    const together = !part(".together").hidden && part("#together").value.trim() !== "";
    const tops = new Set(uploads.map((one) => (together && !one.path.includes("/") ? "/" : one.path.split("/")[0])));
    return tops.size;
  }

  // --- sending ---

  async function start() {
    if (phase !== "choosing" || !form.reportValidity()) return;
    const together = part(".together").hidden ? "" : part("#together").value.trim().replaceAll("/", "_");
    if (together !== "") for (const one of loose()) one.path = `${together}/${one.path}`;
    to("sending");
    await work();
  }

  // Makes the drop or job, sends all that is missing, and ends it.
  async function work() {
    stop = new AbortController();
    const signal = stop.signal;
    if (!(await attempted(makePlace, signal))) return;
    const queue = uploads.filter((one) => one.state === "waiting");
    await Promise.all(Array.from({ length: PARALLEL }, async () => {
      while (queue.length > 0 && !signal.aborted) await one(queue.shift(), signal);
    }));
    if (signal.aborted) return;
    if (uploads.some((each) => each.state === "failed")) { to("problems"); return; }
    await finish();
  }

  async function one(upload, signal) {
    upload.state = "sending";
    for (let attempt = 0; !signal.aborted; ) {
      const before = upload.offset;
      try {
        show(upload);
        await upload.send(place, signal, () => { upload.why = []; show(upload); });
        upload.state = "done";
        break;
      } catch (error) {
        if (signal.aborted) { upload.state = "waiting"; break; }
        if (error instanceof Refused && !error.passing) {
          if (error.name === "upload-offset") { await pause(AGAIN[0], signal); continue; } // HEAD says the right one
          upload.state = error.name === "file-not-taken" ? "left" : "failed";
          upload.why = whyOf(error);
          break;
        }
        if (upload.offset > before) attempt = 0;
        upload.why = whyOf(error);
        show(upload);
        await pause(AGAIN[Math.min(attempt++, AGAIN.length - 1)], signal);
      }
    }
    if (signal.aborted && upload.state === "sending") upload.state = "waiting";
    show(upload);
  }

  async function makePlace(signal) {
    if (place !== null) return;
    if (isDrop) {
      const folder = form.querySelector('[name="folder"]:checked').value;
      const answer = await request("POST", "/v1/drops", { ...asJson({ folder }), signal });
      place = `/v1/drops/${(await answer.json()).id}`;
      return;
    }
    const body = new URLSearchParams(new FormData(form));
    body.set("step", "create");
    const answer = await (await request("POST", form.getAttribute("action"), { body, signal })).json();
    job = answer.job;
    place = `/v1/payloads/${answer.payload}`;
    form.elements.name.readOnly = true; // the job has them now
    for (const option of form.elements.priority.options || []) option.disabled = !option.selected;
  }

  async function finish() {
    if (uploads.every((each) => each.state !== "done")) {
      to("problems");
      part(".outcome").textContent = words("nothing");
      return;
    }
    to("finishing");
    if (!isDrop) { form.submit(); return; }
    if (!(await attempted((signal) => request("POST", `${place}:finish`, { ...asJson({}), signal, within: LONG }), stop.signal))) return;
    to("done");
  }

  // Does something until the device answers. Returns whether it has accepted it.
  async function attempted(action, signal) {
    for (let attempt = 0; !signal.aborted; ) {
      try {
        await action(signal);
        return true;
      } catch (error) {
        if (signal.aborted) return false;
        if (error instanceof Refused && !error.passing) {
          to("problems");
          tell(part(".outcome"), ...whyOf(error));
          return false;
        }
        tell(part(".outcome"), ...whyOf(error));
        await pause(AGAIN[Math.min(attempt++, AGAIN.length - 1)], signal);
      }
    }
    return false;
  }

  function pause(wait, signal) {
    return new Promise((done) => {
      const ended = () => { clearTimeout(timer); window.removeEventListener("online", ended); done(); };
      const timer = setTimeout(ended, wait);
      window.addEventListener("online", ended);
      signal.addEventListener("abort", ended, { once: true });
    });
  }

  // --- buttons ---

  function halt() {
    to("paused");
    stop.abort();
  }

  async function resume() {
    for (const each of uploads) {
      if (each.state === "sending") each.state = "waiting";
      if (each.state === "failed") { each.state = "waiting"; each.why = []; show(each); }
    }
    to("sending");
    await work();
  }

  async function without() {
    stop = new AbortController();
    to("sending");
    for (const each of uploads.filter((one) => one.state === "failed")) {
      if (each.address !== null && !(await attempted((signal) => removed("DELETE", each.address, { headers: TUS, signal }), stop.signal))) return;
      each.state = "left";
      show(each);
    }
    await finish();
  }

  async function cancel() {
    if (stop !== null) stop.abort();
    let outcome = null;
    try {
      if (place !== null && isDrop) await removed("DELETE", place);
      else if (place !== null) await removed("POST", `/v1/jobs/${job}:cancel`, asJson({}));
    } catch (error) { // such as: its end was accepted before, and the answer was lost
      outcome = error instanceof Refused && error.status !== 401 ? ["", error.message] : [words("cancelLater")];
    }
    window.onbeforeunload = null;
    if (!isDrop && outcome === null) { location.assign(location.pathname); return; } // with a new key
    clear();
    tell(part(".outcome"), ...(outcome || [words("cancelled")]));
  }

  // Asks for the end of something, which may have ended before.
  async function removed(method, path, options) {
    try {
      await request(method, path, options);
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 404) throw error;
    }
  }

  function clear() {
    for (const each of uploads) if (each.row !== null) each.row.remove();
    [uploads, place, job] = [[], null, null];
    part("#all-progress").value = 0;
    to("choosing");
    showChosen();
  }

  // --- showing ---

  function to(next) {
    phase = next;
    const running = phase === "sending" || phase === "finishing";
    button("start").hidden = phase !== "choosing";
    button("pause").hidden = phase !== "sending";
    button("continue").hidden = phase !== "paused";
    button("again").hidden = phase !== "problems";
    const whole = uploads.some((each) => each.state === "done") && uploads.some((each) => each.state === "failed");
    button("without").hidden = phase !== "problems" || !whole;
    button("cancel").hidden = !(phase === "sending" || phase === "paused" || phase === "problems");
    button("clear").hidden = phase !== "done" && (phase !== "choosing" || uploads.length === 0);
    part(".dropzone").hidden = phase !== "choosing";
    part(".all").hidden = phase === "choosing" || phase === "done";
    if (phase !== "choosing") part(".together").hidden = true;
    for (const field of form.querySelectorAll('[name="folder"]')) {
      if (phase === "choosing") field.disabled = field.dataset.closed === "";
      else if (!field.checked) field.disabled = true;
    }
    for (const one of plain) one.hidden = phase !== "choosing" || uploads.length > 0;
    const failed = uploads.filter((each) => each.state === "failed").length;
    const text = { paused: words("paused"), finishing: words("finishing"),
      problems: failed > 0 ? words("problems", { number: failed }) : "" }[phase];
    part(".outcome").textContent = text || "";
    if (phase === "done") showDone();
    window.onbeforeunload = running || phase === "paused" ? (event) => event.preventDefault() : null;
    if (phase === "finishing" && !isDrop) window.onbeforeunload = null;
  }

  function showDone() {
    const number = uploads.filter((each) => each.state === "done").length;
    const link = document.createElement("a");
    link.href = form.dataset.done;
    link.textContent = words("done", { number });
    part(".outcome").replaceChildren(link);
    for (const each of uploads) if (each.row !== null && each.state === "done") each.row.remove();
  }

  // Shows a file while it is sent, or where it was not; the others are counted.
  function show(upload) {
    const list = part(".sent");
    if (upload.state === "done" || upload.state === "waiting") {
      if (upload.row !== null) upload.row.remove();
      upload.row = null;
    } else {
      if (upload.row === null) {
        upload.row = document.createElement("li");
        const [label, bar, text] = ["label", "progress", "span"].map((tag) => document.createElement(tag));
        bar.id = `file-${uploads.indexOf(upload)}`;
        label.htmlFor = bar.id;
        label.dir = "auto";
        label.className = "name";
        label.textContent = upload.path;
        text.dir = "auto";
        upload.row.append(label, bar, text);
        list.append(upload.row);
      }
      const [, bar, text] = upload.row.children;
      bar.max = Math.max(1, upload.file.size);
      bar.value = upload.offset;
      bar.hidden = upload.state !== "sending";
      upload.row.className = upload.state;
      const before = { left: `${words("left")} `, failed: `${words("failed")} ` }[upload.state] || "";
      const [own = "", message = ""] = upload.why;
      tell(text, before + own, message);
    }
    showAll();
  }

  let shown = 0;
  function showAll() {
    const done = uploads.filter((each) => each.state === "done" || each.state === "left").length;
    const total = uploads.reduce((sum, each) => sum + each.file.size, 0);
    const sent = uploads.reduce((sum, each) => sum + (each.state === "done" ? each.file.size : each.offset), 0);
    const bar = part("#all-progress");
    bar.max = Math.max(1, total);
    bar.value = sent;
    const now = performance.now(); // a reader of the screen says each change
    if (now - shown < 1000 && done < uploads.length) return;
    shown = now;
    part(".chosen").textContent = words("count", { done, total: uploads.length, size: sizeOf(sent) });
  }

  // --- events ---

  const actions = { start, pause: halt, continue: resume, again: resume, without, cancel, clear };
  area.addEventListener("click", (event) => {
    const found = event.target.closest("button[data-do]");
    if (found !== null) actions[found.dataset.do]();
  });
  for (const input of area.querySelectorAll('input[type="file"]')) {
    input.addEventListener("change", () => { add(chosenIn(input)); input.value = ""; });
  }
  for (const field of form.querySelectorAll('[name="folder"]')) {
    if (field.disabled) field.dataset.closed = "";
    field.addEventListener("change", () => showChosen());
  }
  part("#together").addEventListener("input", () => showChosen());
  part("#together").addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); start(); } });
  form.addEventListener("submit", (event) => {
    if (uploads.length > 0) { event.preventDefault(); start(); return; }
    for (const one of plain) setTimeout(() => { one.disabled = true; }); // after it was sent
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted && phase !== "choosing") location.reload(); // by Back, after its job was started
    for (const one of plain) one.disabled = false;
  });

  const zone = part(".dropzone");
  for (const name of ["dragenter", "dragover"]) {
    window.addEventListener(name, (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      zone.classList.add("over");
    });
  }
  for (const name of ["dragleave", "drop"]) {
    window.addEventListener(name, (event) => {
      if (name === "drop" || event.relatedTarget === null) zone.classList.remove("over");
    });
  }
  window.addEventListener("drop", async (event) => { // anywhere on the page: else the browser opens the file
    event.preventDefault();
    try {
      add(await dropped(event.dataTransfer));
    } catch {
      part(".outcome").textContent = words("unreadable");
    }
  });

  area.hidden = false;
  showChosen();
}

for (const area of document.querySelectorAll("[data-sending]")) sending(area);
