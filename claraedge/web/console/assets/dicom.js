// Shows DICOM files: a picture with its window, and a table of its tags. The page brings the words.

import { meaningOf, paintColour, paintGrey, pictureOf, placeOf, rangeOf, Unsupported, valuesOf,
  windowOf } from "./dicom-pixels.js";
import { rowsOf, typeOf } from "./dicom-tags.js";

// Bytes of the tags: read first, and at most.
const FIRST = 256 * 1024, MOST = 16 * 1024 * 1024;
const PIXELS = "x7fe00010";

// Returns bytes of a file. Throws Unsupported where the server does not send just them.
async function fetched(url, offset, size, signal) {
  const range = `bytes=${offset}-${offset + size - 1}`;
  const answer = await fetch(url, { headers: { Range: range }, signal });
  if (answer.status !== 206) {
    await answer.body?.cancel();
    throw new Unsupported("not_read", { status: answer.status });
  }
  return new Uint8Array(await answer.arrayBuffer());
}

// Returns the tags of a file, without its pixels. Throws Unsupported if they cannot be read.
async function tagsOf(url, size) {
  if (!size) throw new Unsupported("not_dicom");
  for (let wanted = FIRST; ; wanted *= 4) {
    const bytes = await fetched(url, 0, Math.min(wanted, size));
    const { set, whole } = parsed(bytes);
    if (set && (whole || bytes.length >= size)) return set;
    if (bytes.length >= size) throw new Unsupported("not_dicom");
    if (wanted >= MOST) throw new Unsupported("too_many_tags");
  }
}

// Returns the tags at the beginning of a file, and whether they are read up to its pixels.
function parsed(bytes) {
  const options = { untilTag: PIXELS, vrCallback: typeOf };
  const marked = String.fromCharCode(...bytes.subarray(128, 132)) === "DICM";
  // Without its beginning: most such files have no types either. dicomParser#112
  if (!marked) options.TransferSyntaxUID = beginsWithTypes(bytes) ? "1.2.840.10008.1.2.1"
    : "1.2.840.10008.1.2";
  try {
    const set = dicomParser.parseDicom(bytes, options);
    return { set: isUsed(set) ? set : null, whole: PIXELS in set.elements };
  } catch (error) {
    const set = error?.dataSet;
    return { set: set && isUsed(set) ? set : null, whole: false };
  }
}

function beginsWithTypes(bytes) {
  return /^[A-Z]{2}$/.test(String.fromCharCode(...bytes.subarray(4, 6)));
}

// Any bytes can be read as tags: one of those that each file has must be among them.
function isUsed(set) {
  return ["x00080016", "x00080018", "x00080060", "x0020000d", "x00280010"].some(
    (tag) => set.elements[tag],
  );
}

class Viewer {
  constructor(section) {
    this.section = section;
    this.url = section.dataset.dicom;
    this.size = Number(section.dataset.size);
    this.words = JSON.parse(section.dataset.words);
    this.frame = 0;
    this.window = null;  // that of the viewer; null: of the file, or of the values
  }

  find(name) {
    return this.section.querySelector(`[data-part="${name}"]`);
  }

  say(word, fields = {}) {
    const text = this.words[word].replace(/\{(\w+)\}/g, (_, name) => String(fields[name]));
    this.find("said").textContent = text;
    this.find("said").hidden = !text;
  }

  async show() {
    try {
      this.set = await tagsOf(this.url, this.size);
      this.listTags();
      this.picture = pictureOf(this.set);
      await this.load(0);
      this.control();
      this.find("picture").hidden = false;
    } catch (error) {
      this.fail(error);
    }
  }

  fail(error) {
    if (error?.name === "AbortError") return;
    if (error instanceof Unsupported) this.say(error.word, error.fields);
    else this.say(error instanceof TypeError ? "not_reached" : "damaged");
    this.section.dataset.state = "failed";
  }

  listTags() {
    const { rows, more } = rowsOf(this.set), body = this.find("tags").querySelector("tbody");
    body.replaceChildren(...rows.map((row) => {
      const line = document.createElement("tr");
      const cells = [`${"› ".repeat(row.level)}${row.tag}`, row.name, row.value];
      cells.forEach((text, at) => {
        const cell = document.createElement(at ? "td" : "th");
        if (!at) cell.scope = "row";
        const name = document.createElement("bdi");
        name.textContent = text;
        cell.append(name);
        if (at === 1 && row.personal) {
          const mark = document.createElement("strong");
          mark.className = "tag-personal";
          mark.textContent = this.words.personal;
          cell.append(" ", mark);
        }
        line.append(cell);
      });
      return line;
    }));
    this.find("more-tags").hidden = !more;
    this.find("tags").hidden = false;
  }

  // Reads a frame, and draws it. A later call ends an earlier one.
  async load(frame) {
    this.reading?.abort();
    const reading = (this.reading = new AbortController());
    const place = placeOf(this.picture, frame);
    const size = Math.min(place.size, this.size - place.offset);
    if (size <= 0) throw new Unsupported("damaged");
    const bytes = await fetched(this.url, place.offset, size, reading.signal);
    if (reading.signal.aborted) return;
    this.frame = frame;
    this.bytes = bytes;
    this.skip = place.skip;
    this.meaning = meaningOf(this.set, frame);
    if (this.picture.grey) {
      this.values = valuesOf(this.picture, bytes, place.skip);
      this.range = rangeOf(this.picture, this.meaning, this.values);
    }
    this.draw();
    const { frames, claimed } = this.picture;
    this.say(bytes.length < place.size || frames < claimed ? "cut" : "none");
    this.section.dataset.frame = String(frame);
    this.section.dataset.state = "drawn";
  }

  get shown() {
    return this.window || this.meaning.windows[0] || windowOf(this.range);
  }

  draw() {
    const canvas = this.find("canvas"), { rows, columns } = this.picture;
    if (canvas.width !== columns || canvas.height !== rows) {
      canvas.width = columns;
      canvas.height = rows;
    }
    const { row, column } = this.meaning.spacing;
    canvas.style.aspectRatio = `${columns * column} / ${rows * row}`;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    this.image ||= context.createImageData(columns, rows);
    if (this.picture.grey) {
      paintGrey(this.picture, this.meaning, this.shown, this.values, this.image.data);
    } else {
      paintColour(this.picture, this.bytes, this.skip, this.image.data);
    }
    context.putImageData(this.image, 0, 0);
    this.describe();
  }

  describe() {
    const { rows, columns, photometric, frames } = this.picture;
    this.find("facts").textContent = `${columns} × ${rows} · ${photometric}`;
    this.find("frame-number").textContent = `${this.frame + 1} / ${frames}`;
    if (!this.picture.grey) return;
    const { centre, width } = this.shown, { low, high } = this.range;
    const whole = Number.isInteger(low) && Number.isInteger(high) && high - low > 20;
    const step = whole ? 1 : (high - low || 1) / 500;
    this.limit("centre", Math.min(low, centre), Math.max(high, centre), step, centre);
    this.limit("width", step, Math.max(2 * (high - low), width, 2 * step), step, width);
  }

  limit(name, low, high, step, value) {
    const slider = this.find(name), rounded = Number(value.toPrecision(6));
    if (!slider.matches(":active") || !slider.max) {  // its ends must not move below a finger
      Object.assign(slider, { min: low, max: high, step: "any" });
    }
    slider.dataset.step = step;
    slider.value = value;
    slider.setAttribute("aria-valuetext", String(rounded));
    this.find(`${name}-value`).textContent = String(rounded);
  }

  // Draws with another window, at most once for each picture of the screen.
  turn(centre, width) {
    this.window = { ...this.shown, centre, width: Math.max(width, Number.EPSILON) };
    this.later();
  }

  later() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.draw();
    });
  }

  control() {
    const { grey, frames } = this.picture;
    this.find("grey").hidden = !grey;
    this.find("frames").hidden = frames === 1;
    const frame = this.find("frame");
    frame.max = frames;
    frame.addEventListener("input", () => {
      this.load(Number(frame.value) - 1).catch((error) => this.fail(error));
    });
    if (!grey) return;
    for (const name of ["centre", "width"]) {
      const slider = this.find(name);
      slider.addEventListener("input", () => {
        this.turn(Number(this.find("centre").value), Number(this.find("width").value));
      });
      slider.addEventListener("keydown", (event) => this.step(event, slider));
    }
    this.find("reset").addEventListener("click", () => {
      this.window = null;
      this.later();
    });
    this.choose();
    this.drag(this.find("canvas"));
  }

  // Keys move a slider by one value, or a twentieth of its length: with `any` as its step, browsers
  // move it by different lengths.
  step(event, slider) {
    const one = Number(slider.dataset.step), many = (slider.max - slider.min) / 20;
    const by = { ArrowRight: one, ArrowUp: one, ArrowLeft: -one, ArrowDown: -one, PageUp: many,
      PageDown: -many }[event.key];
    if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    slider.value = Number(slider.value) + by;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  }

  // Offers the windows of the file by name, where it has several.
  choose() {
    const { windows } = this.meaning, choice = this.find("choice");
    if (windows.length < 2) return;
    choice.replaceChildren(...windows.slice(0, 20).map((one, at) => {
      const name = one.name || `${one.centre} / ${one.width}`;
      return new Option(name.slice(0, 64), String(at));
    }));
    choice.addEventListener("change", () => {
      this.window = this.meaning.windows[Number(choice.value)] || null;
      this.later();
    });
    this.find("windows").hidden = false;
  }

  // A pointer that is drawn to the side changes the width, and up or down the centre. A finger that
  // moves up or down scrolls the page: style sheet.
  drag(canvas) {
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      const { centre, width } = this.shown, { low, high } = this.range;
      const scale = (Math.max(high - low, 1) / Math.max(canvas.clientWidth, 1)) * 1.5;
      const moved = (now) => {
        const wider = Math.max(width + (now.clientX - event.clientX) * scale, scale / 10);
        this.turn(centre + (now.clientY - event.clientY) * scale, wider);
      };
      const ended = () => {
        canvas.removeEventListener("pointermove", moved);
        canvas.removeEventListener("pointerup", ended);
        canvas.removeEventListener("pointercancel", ended);
      };
      canvas.addEventListener("pointermove", moved);
      canvas.addEventListener("pointerup", ended);
      canvas.addEventListener("pointercancel", ended);
    });
  }
}

for (const section of document.querySelectorAll("[data-dicom]")) new Viewer(section).show();
