// Follows a log while its tab is visible. Without this the page shows its lines up to now.

const MOST = 5000; // lines on the page; the oldest are left out
const BLOCK = 250; // lines that are left out at once
const WAITING = 5000; // lines that wait while the viewer has paused
const LINE = 2000; // characters of a line
// As log_text.py does: codes of terminals, and what HTML cannot show.
const CODES = /(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[PX^_][^\x1b]*\x1b\\|\x1b[ -/]*[0-OQ-WYZ\\`-~]/g;
const NOT_SHOWN = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

function shown(line) {
  const text = line.slice(0, LINE * 8).replace(CODES, "").replace(/[\r\n]+$/, "");
  const last = text.slice(text.lastIndexOf("\r") + 1).replace(NOT_SHOWN, "");
  return last.length > LINE || line.length > LINE * 8 ? `${last.slice(0, LINE)}…` : last;
}

class Follower {
  constructor(root) {
    this.root = root;
    this.pre = root.querySelector("pre");
    this.paused = false;
    this.ended = false;
    this.lines = []; // those that are not on the page yet
    this.count = 0;
    this.fresh = true; // the next lines replace those of the page
    this.stream = new Stream({
      path: () => root.dataset.log,
      heard: (kind, line) => this.heard(kind, line),
      begun: () => { this.fresh = true; this.lines = []; },
      again: () => { if (!this.ended) this.stream.open(); },
    });
  }

  part(name) {
    return this.root.querySelector(`[data-part="${name}"]`);
  }

  start() {
    this.part("pause").hidden = false;
    this.part("pause").addEventListener("click", () => this.pause());
    this.part("down").addEventListener("click", () => this.down());
    this.pre.addEventListener("scroll", () => { if (this.isDown) this.seen(); });
    this.down();
    this.stream.open();
    this.stream.turn();
  }

  heard(kind, line) {
    if (kind === "end") {
      this.ended = true;
      this.stream.close();
      this.say(this.root.dataset.ended);
      return;
    }
    this.lines.push(shown(line));
    if (this.lines.length > WAITING + BLOCK) this.lines.splice(0, this.lines.length - WAITING);
    this.later();
  }

  later() {
    if (!this.paused && !this.drawing) {
      this.drawing = requestAnimationFrame(() => {
        this.drawing = 0;
        this.draw();
      });
    }
  }

  draw() {
    if (this.paused || this.lines.length === 0) return;
    const stays = !this.isDown;
    if (this.fresh) {
      this.pre.replaceChildren();
      this.count = 0;
      this.fresh = false;
      this.say("");
    }
    for (let at = 0; at < this.lines.length; at += BLOCK) this.append(this.lines.slice(at, at + BLOCK));
    this.lines = [];
    for (let first; this.count - (first = Number(this.pre.firstElementChild.dataset.lines)) >= MOST;) {
      this.pre.firstElementChild.remove();
      this.count -= first;
    }
    if (stays) this.part("down").hidden = false;
    else this.down();
  }

  append(lines) {
    const block = document.createElement("span");
    block.textContent = `${lines.join("\n")}\n`;
    block.dataset.lines = lines.length;
    this.pre.append(block);
    this.count += lines.length;
  }

  get isDown() {
    return this.pre.scrollTop + this.pre.clientHeight >= this.pre.scrollHeight - 8;
  }

  down() {
    this.pre.scrollTop = this.pre.scrollHeight;
    this.seen();
  }

  seen() {
    this.part("down").hidden = true;
  }

  pause() {
    this.paused = !this.paused;
    this.part("pause").setAttribute("aria-pressed", String(this.paused));
    this.later();
  }

  say(text) {
    this.part("said").textContent = text;
  }
}

for (const root of document.querySelectorAll("[data-log]")) new Follower(root).start();
