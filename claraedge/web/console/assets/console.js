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

const BETWEEN = 500; // milliseconds between two answers that are shown
const POLL = 5000; // milliseconds

let position = document.body.dataset.position;
let timer = null;
let asking = null; // AbortController of the page that is being asked for
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
  return [...section.querySelectorAll("input, textarea")].some(isChanged);
}

function resume() {
  if (postponed.size === 0) return;
  for (const id of postponed) changed.add(id);
  postponed.clear();
  soon(BETWEEN);
}

for (const kind of ["change", "focusout"]) document.addEventListener(kind, resume);

const stream = new Stream({
  path: () => `/v1/events?allJobs=true&pipelines=true&inbox=true&deployments=true&after=${position}`,
  heard(subject, data, id) {
    if (subject === "reset") { stream.close(); refreshAll(); return; } // all of it follows, which no page needs
    position = id || position;
    const job = (data[subject] || {}).jobId;
    for (const section of liveSections()) if (concerns(section, subject, job)) changed.add(section.id);
    if (changed.size > 0) soon(BETWEEN);
  },
  again: () => refreshAll(),
});

function refreshAll(wait = 0) {
  for (const section of liveSections()) changed.add(section.id);
  soon(wait);
}

function soon(wait) {
  if (timer === null && !document.hidden) timer = setTimeout(refresh, wait);
}

// Follows the changes since a position. Without one, others keep all streams of the device open: the page is
// asked for again instead.
function follow(from) {
  position = from;
  if (position === "") refreshAll(POLL);
  else stream.open();
}

// Asks for the page again, and shows those of its sections that have changed.
async function refresh() {
  timer = null;
  if (asking !== null || document.hidden) return;
  const own = (asking = new AbortController());
  const wanted = [...changed];
  changed.clear();
  try {
    const answer = await request("GET", document.body.dataset.here, { headers: { Accept: "text/html" }, signal: own.signal });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (asking !== own) return;
    say("");
    show(page, wanted);
    if (!stream.isOpen) follow(page.body.dataset.position);
  } catch (error) {
    if (asking !== own) return; // nobody sees the page any more
    for (const id of wanted) changed.add(id);
    if (error.status === 404) location.replace(document.body.dataset.here); // what it shows was removed
    else stream.lost(error);
    return;
  } finally {
    if (asking === own) asking = null;
  }
  if (changed.size > 0) soon(BETWEEN);
}

function show(page, wanted) {
  for (const id of wanted) {
    const [old, fresh] = [document.getElementById(id), page.getElementById(id)];
    if (old === null) continue;
    if (fresh === null) { location.replace(document.body.dataset.here); return; }
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

showTimes(document);
showButtons(document);
if (liveSections().length > 0) {
  follow(position);
  stream.turn(() => {
    clearTimeout(timer);
    timer = null;
    if (asking !== null) asking.abort();
    asking = null;
  });
}
