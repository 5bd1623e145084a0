// Sends a file to the API, with its progress.
"use strict";

for (const form of document.querySelectorAll("form[data-send]")) {
  const [send, stop] = form.querySelectorAll("button");
  const bar = form.querySelector("progress");
  const state = form.querySelector("[role=status]");
  let request = null;
  let whole = false; // all of it was sent: the device may have stored it, whatever happens to its answer

  const ended = (text, language = document.documentElement.lang) => {
    request = null;
    send.disabled = false;
    stop.hidden = bar.hidden = true;
    state.textContent = text;
    state.lang = language;
  };

  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (request !== null) return;
    const query = new URLSearchParams();
    for (const field of form.querySelectorAll("[data-field]")) query.set(field.dataset.field, field.value);
    request = new XMLHttpRequest();
    request.open("POST", query.size ? `${form.dataset.send}?${query}` : form.dataset.send);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      bar.value = total ? loaded / total : 0;
      state.textContent = `${form.dataset.sending} ${Math.round(bar.value * 100)} %`;
    });
    request.upload.addEventListener("load", () => {
      whole = true;
      bar.removeAttribute("value");
      state.textContent = form.dataset.checking;
    });
    request.addEventListener("load", (done) => {
      const { status, responseText } = done.target;
      if (status === 200) { request = null; location.assign(form.dataset.back); return; }
      if (status === 401) signIn();
      let text = null;
      try { text = JSON.parse(responseText).message; } catch { /* it is no answer of the API */ }
      if (text) ended(text, "en");
      else ended(whole ? form.dataset.unknown : form.dataset.broken);
    });
    request.addEventListener("error", () => ended(whole ? form.dataset.unknown : form.dataset.broken));
    request.addEventListener("abort", () => ended(whole ? form.dataset.unknown : form.dataset.stopped));
    whole = false;
    state.lang = document.documentElement.lang;
    send.disabled = true;
    stop.hidden = bar.hidden = false;
    bar.value = 0;
    request.send(form.querySelector("input[type=file]").files[0]);
  });
  stop.addEventListener("click", () => { if (request !== null) request.abort(); });
  window.addEventListener("beforeunload", (event) => { if (request !== null) event.preventDefault(); });
}
