"use strict";

const state = document.getElementById("state");
const form = document.getElementById("form");

async function send(path, body, done) {
  state.textContent = "…";
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    state.textContent = answer.ok ? done : (await answer.json()).message;
  } catch (error) {
    state.textContent = "The device does not answer: " + error.message;
  }
}

function signIn(token) {
  return send("/login", { token }, "You are signed in, until the daemon is started again.");
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const field = document.getElementById("token");
  signIn(field.value.trim());
  field.value = "";
});

document.getElementById("out").addEventListener("click", () => {
  send("/logout", {}, "You are signed out.");
});

// A fragment is never sent to a server; it must not stay in the history of the browser either.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given !== null) {
  history.replaceState(null, "", location.pathname);
  signIn(given);
}
