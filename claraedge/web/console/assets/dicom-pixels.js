// The pixels of uncompressed DICOM pictures: from bytes to values, and from values to colours.
// Pure: no document, no requests. Source: DICOM PS3.3 C.7.6.3, C.7.9, C.11.1, C.11.2; PS3.5 8.

const BIG_ENDIAN = "1.2.840.10008.1.2.2";
export const UNCOMPRESSED = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", BIG_ENDIAN];
// The most pixels of one frame: a canvas of more fails in some browsers without a word.
const MOST_PIXELS = 36e6;
const MONOCHROME = ["MONOCHROME1", "MONOCHROME2"];
const COLOURS = ["RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR"];
const SHARED = "x52009229", PER_FRAME = "x52009230";

// A picture that is not drawn: `word` is the key of the sentence that says why.
export class Unsupported extends Error {
  constructor(word, fields = {}) {
    super(word);
    this.word = word;
    this.fields = fields;
  }
}

// Returns what the tags say of the picture; throws Unsupported for one that is not drawn.
export function pictureOf(set) {
  const syntax = textOf(set, "x00020010") || UNCOMPRESSED[0];
  const pixels = set.elements.x7fe00010;
  if (set.elements.x7fe00008 || set.elements.x7fe00009) throw new Unsupported("float_pixels");
  if (!pixels) throw new Unsupported("no_picture");
  if (!UNCOMPRESSED.includes(syntax) || pixels.hadUndefinedLength) {
    throw new Unsupported("compressed", { syntax });
  }
  const rows = set.uint16("x00280010"), columns = set.uint16("x00280011");
  if (!rows || !columns) throw new Unsupported("no_picture");
  if (rows * columns > MOST_PIXELS) throw new Unsupported("too_many_pixels", { rows, columns });
  const photometric = textOf(set, "x00280004") || "MONOCHROME2";
  const grey = MONOCHROME.includes(photometric);
  if (!grey && !COLOURS.includes(photometric)) throw new Unsupported("colours", { photometric });
  const samples = grey || photometric === "PALETTE COLOR" ? 1 : 3;
  const bits = set.uint16("x00280100") || 8;
  const sizes = photometric === "YBR_FULL_422" ? [8] : grey ? [1, 8, 16, 32] : [8, 16];
  if (!sizes.includes(bits)) throw new Unsupported("bits", { bits });
  const said = set.uint16("x00280101");
  const stored = said >= 1 && said <= bits ? said : bits;
  const top = set.uint16("x00280102");
  const high = top >= stored - 1 && top < bits ? top : stored - 1;
  const frameBits = rows * columns * (photometric === "YBR_FULL_422" ? 16 : samples * bits);
  const fitting = Math.floor((pixels.length * 8) / frameBits);
  const claimed = Math.max(1, parseInt(textOf(set, "x00280008"), 10) || 1);
  const signed = set.uint16("x00280103") === 1;
  return {
    rows, columns, photometric, grey, bits, stored, signed, frameBits,
    shift: high + 1 - stored,
    planar: samples === 3 && set.uint16("x00280006") === 1,
    bigEndian: syntax === BIG_ENDIAN,
    // Bytes in words of 16 bits: in big endian each pair is exchanged. pydicom#1680
    exchanged: syntax === BIG_ENDIAN && bits === 8 && pixels.vr === "OW",
    inverted: (photometric === "MONOCHROME1") !== (textOf(set, "x20500020") === "INVERSE"),
    padding: grey ? paddingOf(set, signed) : null,
    offset: pixels.dataOffset,
    length: pixels.length,
    frames: Math.max(1, Math.min(claimed, fitting)),
    claimed,
    lookup: photometric === "PALETTE COLOR" ? paletteOf(set) : null,
  };
}

// Returns where the bytes of a frame are in the file, and the bit at which its first pixel is.
export function placeOf(picture, frame) {
  const first = picture.frameBits * frame, start = Math.floor(first / 8);
  const end = Math.min(Math.ceil((first + picture.frameBits) / 8), picture.length);
  // A pair of bytes that are exchanged may begin before the frame.
  const early = picture.exchanged ? start % 2 : 0;
  const late = picture.exchanged && (end - start + early) % 2 && end < picture.length ? 1 : 0;
  return { offset: picture.offset + start - early, size: end - start + early + late,
    skip: (first % 8) + early * 8 };
}

// Returns how the values of a frame are to be understood: rescale and windows, each with a name.
export function meaningOf(set, frame) {
  const value = (group, tag) => numbersOf(nested(set, frame, group) || set, tag);
  const slope = value("x00289145", "x00281053")[0], intercept = value("x00289145", "x00281052")[0];
  const voi = nested(set, frame, "x00289132") || set;
  const centres = numbersOf(voi, "x00281050"), widths = numbersOf(voi, "x00281051");
  const names = (textOf(voi, "x00281055") || "").split("\\");
  const shape = textOf(voi, "x00281056") || "LINEAR";
  const windows = centres
    .map((centre, at) => ({ centre, width: widths[at], name: (names[at] || "").trim(), shape }))
    .filter((one) => Number.isFinite(one.centre) && one.width > 0);
  return {
    slope: Number.isFinite(slope) && slope !== 0 ? slope : 1,
    intercept: Number.isFinite(intercept) ? intercept : 0,
    windows,
    spacing: spacingOf(set, frame),
  };
}

// Returns the stored values of a frame of grey or of a palette. Bytes that are missing count as 0.
export function valuesOf(picture, bytes, skip) {
  const count = picture.rows * picture.columns;
  const found = picture.bits === 32 && !picture.signed ? new Float64Array(count)
    : new Int32Array(count);
  if (picture.bits === 1) {
    for (let at = 0; at < count; at++) {
      found[at] = (bytes[(at + skip) >> 3] >> ((at + skip) & 7)) & 1;
    }
    return found;
  }
  const size = picture.bits / 8, data = viewOf(picture, bytes, skip / 8);
  const whole = Math.min(count, Math.floor(data.byteLength / size)), little = !picture.bigEndian;
  const up = 32 - picture.stored - picture.shift, down = 32 - picture.stored;
  for (let at = 0; at < whole; at++) {
    const raw = size === 1 ? data.getUint8(at)
      : size === 2 ? data.getUint16(at * 2, little) : data.getUint32(at * 4, little);
    // What is above the highest bit may be an overlay: it goes out of the word on the left.
    found[at] = picture.signed ? (raw << up) >> down : (raw << up) >>> down;
  }
  return found;
}

// Returns the least and the greatest value of a frame after its rescale, without its padding.
export function rangeOf(picture, meaning, values) {
  let low = Infinity, high = -Infinity;
  const { first, last } = picture.padding || { first: 1, last: 0 };
  for (const value of values) {
    if (value >= first && value <= last) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) low = high = 0;
  const ends = [low, high].map((one) => one * meaning.slope + meaning.intercept);
  return { low: Math.min(...ends), high: Math.max(...ends) };
}

// Returns a window that shows all values of a range.
export function windowOf(range) {
  const width = range.high - range.low || 1;
  return { centre: range.low + width / 2, width, name: "", shape: "LINEAR_EXACT" };
}

// Writes a frame of grey into the colours of a canvas.
export function paintGrey(picture, meaning, window, values, colours) {
  const { slope, intercept } = meaning, { first, last } = picture.padding || { first: 1, last: 0 };
  const levels = picture.stored <= 16 ? new Uint8ClampedArray(65536) : null;
  const base = picture.signed ? 32768 : 0;
  const shown = (value) => {
    if (value >= first && value <= last) return 0;
    const level = levelOf(window, value * slope + intercept);
    return picture.inverted ? 255 - level : level;
  };
  if (levels) for (let at = 0; at < 65536; at++) levels[at] = shown(at - base);
  for (let at = 0, to = 0; at < values.length; at++, to += 4) {
    const level = levels ? levels[values[at] + base] : shown(values[at]);
    colours[to] = colours[to + 1] = colours[to + 2] = level;
    colours[to + 3] = 255;
  }
}

// Writes a frame of colours into those of a canvas.
export function paintColour(picture, bytes, skip, colours) {
  const count = picture.rows * picture.columns;
  if (picture.lookup) return paintPalette(picture, valuesOf(picture, bytes, skip), colours);
  const data = viewOf(picture, bytes, skip / 8), little = !picture.bigEndian;
  const wide = picture.bits === 16, down = Math.max(0, picture.stored - 8);
  const up = Math.max(0, 8 - picture.stored), mask = 2 ** picture.stored - 1;
  const sample = (at) => {
    if ((at + 1) * (wide ? 2 : 1) > data.byteLength) return 0;
    const raw = wide ? data.getUint16(at * 2, little) : data.getUint8(at);
    return (((raw >> picture.shift) & mask) << up) >> down;
  };
  for (let at = 0, to = 0; at < count; at++, to += 4) {
    let one, two, three;
    if (picture.photometric === "YBR_FULL_422") {
      const pair = (at >> 1) * 4;
      [one, two, three] = [sample(pair + (at & 1)), sample(pair + 2), sample(pair + 3)];
    } else if (picture.planar) {
      [one, two, three] = [sample(at), sample(at + count), sample(at + 2 * count)];
    } else {
      [one, two, three] = [sample(at * 3), sample(at * 3 + 1), sample(at * 3 + 2)];
    }
    if (picture.photometric !== "RGB") {
      const blue = two - 128, red = three - 128;
      [one, two, three] = [one + 1.402 * red, one - 0.344136 * blue - 0.714136 * red,
        one + 1.772 * blue];
    }
    colours[to] = one;  // the array of a canvas rounds, and limits to 0 to 255
    colours[to + 1] = two;
    colours[to + 2] = three;
    colours[to + 3] = 255;
  }
}

function paintPalette(picture, values, colours) {
  for (let at = 0, to = 0; at < values.length; at++, to += 4) {
    picture.lookup.forEach((table, place) => {
      const entry = Math.max(0, Math.min(values[at] - table.first, table.levels.length - 1));
      colours[to + place] = table.levels[entry];
    });
    colours[to + 3] = 255;
  }
}

function levelOf({ centre, width, shape }, value) {
  if (shape === "SIGMOID") return 255 / (1 + Math.exp((-4 * (value - centre)) / width));
  if (shape === "LINEAR_EXACT") return ((value - centre) / width + 0.5) * 255;
  if (width <= 1) return value <= centre - 0.5 ? 0 : 255;
  return ((value - (centre - 0.5)) / (width - 1) + 0.5) * 255;
}

function viewOf(picture, bytes, skip) {
  let used = bytes;
  if (picture.exchanged) {
    used = new Uint8Array(bytes.length);
    for (let at = 0; at < bytes.length; at++) used[at] = bytes[at ^ 1] || 0;
  }
  return new DataView(used.buffer, used.byteOffset + skip, Math.max(0, used.length - skip));
}

function paddingOf(set, signed) {
  // The tags may have either type: the values are those of pixels.
  const value = (tag) => (signed ? set.int16(tag) : set.uint16(tag));
  const one = value("x00280120"), other = value("x00280121") ?? one;
  return one === undefined ? null : { first: Math.min(one, other), last: Math.max(one, other) };
}

function paletteOf(set) {
  return ["1", "2", "3"].map((number) => {
    const [entries, first, bits] = [0, 1, 2].map((at) => set.uint16(`x0028110${number}`, at));
    const element = set.elements[`x0028120${number}`];
    if (!element || !bits) throw new Unsupported("colours", { photometric: "PALETTE COLOR" });
    const size = entries || 65536, levels = new Uint8Array(size);
    const narrow = element.length < size * 2;  // 8 bits each, with a byte more for an odd number
    const entry = (at) => (narrow ? set.byteArray[element.dataOffset + at]
      : set.uint16(`x0028120${number}`, at));
    let most = 0;
    for (let at = 0; at < size; at++) most = Math.max(most, entry(at));
    // Some devices say 16 bits, and write values of 8.
    for (let at = 0; at < size; at++) levels[at] = entry(at) >> (most > 255 ? 8 : 0);
    return { first, levels };
  });
}

function spacingOf(set, frame) {
  const measures = nested(set, frame, "x00289110") || set;
  const pairs = [numbersOf(measures, "x00280030"), numbersOf(set, "x00181164"),
    numbersOf(set, "x00280034")];
  const [row, column] = pairs.find((pair) => pair[0] > 0 && pair[1] > 0) || [1, 1];
  const ratio = column / row;
  return ratio >= 0.1 && ratio <= 10 ? { row, column } : { row: 1, column: 1 };
}

// Returns the data set of a functional group of a frame; null where there is none.
function nested(set, frame, group) {
  for (const [tag, at] of [[PER_FRAME, frame], [SHARED, 0]]) {
    const found = set.elements[tag]?.items?.[at]?.dataSet?.elements[group]?.items?.[0]?.dataSet;
    if (found) return found;
  }
  return null;
}

export function textOf(set, tag) {
  const element = set.elements[tag];
  return element && (element.length > 0 || element.Value) ? set.string(tag) : undefined;
}

function numbersOf(set, tag) {
  const text = textOf(set, tag);
  return text ? text.split("\\").map((one) => parseFloat(one)) : [];
}
