// Shows events as they come, the newest first, while the tab is visible.
"use strict";

{
  const table = document.getElementById("events");
  const rows = table.tBodies[0];
  const pause = document.getElementById("pause");
  const state = document.getElementById("events-state");
  const moment = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "short", timeStyle: "medium" });
  const kinds = new Map([...document.querySelectorAll("[data-kind]")].map((one) => [one.dataset.kind, one.textContent]));
  const labels = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  let after = document.body.dataset.position;
  let paused = false;

  const pages = {
    job: (one) => [`/ui/jobs/${one.jobId}`, one.name || one.jobId],
    operator: (one) => [`/ui/jobs/${one.jobId}`, one.name],
    message: (one) => [`/ui/jobs/${one.jobId}`, one.jobId],
    delivery: (one) => [`/ui/jobs/${one.jobId}`, one.jobId],
    pipeline: (one) => [`/ui/pipelines/${one.pipelineId}`, one.name],
    item: (one) => ["/ui/inbox", one.name],
    deployment: (one) => [`/ui/deployments/${one.deploymentId}`, one.name],
  };

  // What an event says beyond its name: the states as the API names them, reasons and texts.
  function said(one) {
    const status = one.status === "JOB_STATUS_HEALTHY" ? "" : one.status;
    const words = [one.state, status, one.phase].filter(Boolean)
      .map((word) => word.replace(/^(JOB|DEPLOYMENT)(_OPERATOR)?_(STATE|STATUS|PHASE)_/, ""));
    return [...words, one.reason, one.text, one.path].filter(Boolean).join(" · ");
  }

  function add(kind, event) {
    const one = event[kind] || {};
    const [path, label] = pages[kind](one);
    const row = rows.insertRow(0);
    const cells = labels.map((text) => { const cell = row.insertCell(); cell.dataset.label = text; return cell; });
    cells[0].textContent = moment.format(new Date(event.time));
    cells[1].textContent = kinds.get(kind);
    const link = document.createElement("a");
    link.href = encodeURI(path);
    const name = document.createElement("bdi");
    name.className = "name";
    name.textContent = label;
    link.append(name);
    const text = document.createElement("bdi");
    text.className = "name";
    text.lang = "en";
    text.textContent = said(one).slice(0, 500);
    cells[2].append(link, " ", text);
    while (rows.rows.length > Number(table.dataset.most)) rows.deleteRow(-1);
  }

  const stream = new Stream({
    path: () => `/v1/events?allJobs=true&pipelines=true&inbox=true&deployments=true&after=${after}`,
    heard(kind, event, id) {
      after = id || after;
      if (kind === "reset") state.textContent = table.dataset.gap;
      else if (kind in pages && !event.snapshot) add(kind, event);
    },
    begun: () => { state.textContent = table.dataset.follows; },
    again: () => { if (!paused) stream.open(); },
  });

  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    if (paused) { stream.close(); state.textContent = table.dataset.paused; } else stream.renew();
  });

  table.hidden = pause.hidden = false;
  stream.open();
  stream.turn();
}
