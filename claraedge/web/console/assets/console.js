// What the console does beyond plain pages: times in the viewer's zone, copying, a key for the search,
// and live sections. All of it is an addition: pages work without it.
"use strict";

// --- times ---------------------------------------------------------------------------------------

const LANGUAGE = document.documentElement.lang;
const MOMENT = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeStyle: "medium" });

function showTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.dateTime);
    if (isNaN(moment)) continue;
    element.title = element.dateTime;
    element.textContent = MOMENT.format(moment);
  }
}

// --- copying, the key for the search -------------------------------------------------------------

function showButtons(root) {
  for (const button of root.querySelectorAll("button[data-copy]")) button.hidden = false;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (button === null) return;
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    // Only pages of TLS and of this machine may write to the clipboard: the text is selected instead.
    getSelection().selectAllChildren(source);
    return;
  }
  button.textContent = document.body.dataset.copied;
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  event.preventDefault();
  document.getElementById("q").focus();
});

// --- live sections -------------------------------------------------------------------------------
// A page has the position of the event log from before it was made, so that no change is missed. One
// stream is open while the tab is visible: a browser opens six connections to a host at most.

const SUBJECTS = ["job", "operator", "message", "delivery", "pipeline", "item", "deployment"];
const PAUSE = 500; // milliseconds between two answers that are shown
const POLL = 5000; // milliseconds
const PATIENCE = 15000; // milliseconds to wait for the page
const RETRY = [1000, 2000, 5000]; // milliseconds until the next attempt while the daemon is away

let position = document.body.dataset.position;
let stream = null;
let timer = null;
let failures = 0;
let refreshing = false;
const changed = new Set();
const postponed = new Set(); // sections that were being edited when they changed

const liveSections = () => [...document.querySelectorAll("[data-live]")];

// What a section is about: "job" for all jobs, "job:ID" for one of them and its operators.
function concerns(section, subject, id) {
  const job = ["job", "operator", "message", "delivery"].includes(subject);
  return section.dataset.live.split(" ").some((one) => {
    const [kind, only] = one.split(":");
    return only === undefined ? kind === subject : job && kind === "job" && only === id;
  });
}

function isEdited(section) {
  if (section.contains(document.activeElement)) {
    if (document.activeElement.matches("input:not([type=checkbox], [type=radio]), textarea, select")) return true;
  }
  return [...section.querySelectorAll("input, textarea")].some((field) =>
    ["checkbox", "radio"].includes(field.type) ? field.checked !== field.defaultChecked : field.value !== field.defaultValue);
}

function resume() {
  if (postponed.size === 0) return;
  for (const id of postponed) changed.add(id);
  postponed.clear();
  soon(PAUSE);
}

for (const kind of ["change", "focusout"]) document.addEventListener(kind, resume);

function follow() {
  if (stream !== null || document.hidden || liveSections().length === 0) return;
  stream = new EventSource(`/v1/events?allJobs=true&pipelines=true&inbox=true&deployments=true&after=${position}`);
  stream.onopen = () => { document.getElementById("live").hidden = true; };
  for (const subject of SUBJECTS) {
    stream.addEventListener(subject, (event) => {
      failures = 0;
      position = event.lastEventId || position;
      const id = (JSON.parse(event.data)[subject] || {}).jobId;
      for (const section of liveSections()) if (concerns(section, subject, id)) changed.add(section.id);
      if (changed.size > 0) soon(PAUSE);
    });
  }
  stream.addEventListener("reset", () => { leave(); changeAll(); soon(PAUSE); });
  stream.onerror = () => { leave(); changeAll(); lost(); };
}

function leave() {
  if (stream !== null) stream.close();
  stream = null;
}

function changeAll() {
  for (const section of liveSections()) changed.add(section.id);
}

function lost() {
  document.getElementById("live").hidden = false;
  soon(RETRY[Math.min(failures++, RETRY.length - 1)]);
}

function soon(wait) {
  if (timer === null && !document.hidden) timer = setTimeout(refresh, wait);
}

// Asks for the page again, and shows those of its sections that have changed.
async function refresh() {
  timer = null;
  if (refreshing || document.hidden) return;
  refreshing = true;
  const wanted = [...changed];
  changed.clear();
  try {
    // A connection that died while the machine slept answers nothing, for minutes.
    const signal = AbortSignal.timeout(PATIENCE);
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "manual", signal });
    if (answer.type === "opaqueredirect") { location.reload(); return; } // signed out
    if (answer.status === 404) { location.reload(); return; }
    if (!answer.ok) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.getElementById("live").hidden = true;
    failures = 0;
    show(page, wanted);
    if (stream === null) position = page.body.dataset.position;
  } catch {
    for (const id of wanted) changed.add(id);
    lost();
    return;
  } finally {
    refreshing = false;
  }
  follow();
  if (changed.size > 0) soon(PAUSE);
}

function show(page, wanted) {
  for (const id of wanted) {
    const [old, fresh] = [document.getElementById(id), page.getElementById(id)];
    if (old === null) continue;
    if (fresh === null) { location.reload(); return; }
    if (isEdited(old)) { postponed.add(id); continue; }
    showTimes(fresh);
    showButtons(fresh);
    for (const open of old.querySelectorAll("details[open][id]")) {
      const same = fresh.querySelector(`#${CSS.escape(open.id)}`);
      if (same !== null) same.open = true;
    }
    if (old.outerHTML !== fresh.outerHTML) htmx.swap(old, fresh.outerHTML, { swapStyle: "outerHTML" });
  }
}

// Files that were dropped and are not taken yet have no events: their sections are asked for again, while
// somebody sees them.
if (document.querySelector("[data-polled]") !== null) {
  setInterval(() => {
    if (document.hidden) return;
    const polled = document.querySelectorAll("[data-polled]");
    for (const section of polled) changed.add(section.id);
    if (polled.length > 0) soon(0);
  }, POLL);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    leave();
    clearTimeout(timer);
    timer = null;
  } else if (liveSections().length > 0) {
    changeAll();
    soon(0);
  }
});
window.addEventListener("pagehide", leave);
window.addEventListener("pageshow", (event) => { if (event.persisted) { changeAll(); soon(0); } });

showTimes(document);
showButtons(document);
follow();
