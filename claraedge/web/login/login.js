"use strict";

const state = document.getElementById("state");
const form = document.getElementById("form");

// Without this script the form is sent as it is. With it, a wrong token is reported on this page.
async function signIn(token) {
  state.textContent = "…";
  try {
    const answer = await fetch("/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
    });
    if (answer.ok) location.replace(nextPage());
    else state.textContent = (await answer.json()).message;
  } catch (error) {
    state.textContent = "The device does not answer: " + error.message;
  }
}

// A path of this device, or the overview.
function nextPage() {
  const given = new URLSearchParams(location.search).get("next") || "/";
  const target = new URL(given, location.href);
  return target.origin === location.origin ? target.href : "/";
}

// A page of the console leads here whose browser is signed in no longer.
document.getElementById("out").hidden = !new URLSearchParams(location.search).has("out");

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const field = document.getElementById("token");
  signIn(field.value.trim());
  field.value = "";
});

// A fragment is never sent to a server; it must not stay in the history of the browser either.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given !== null) {
  history.replaceState(null, "", location.pathname + location.search);
  signIn(given);
}
