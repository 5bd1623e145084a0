// The tags of a DICOM file as rows of a table. Pure: no document, no requests.
// Names and types: DICOM PS3.6, those that people look for.

const DICTIONARY = `
00020002 UI Media Storage SOP Class UID
00020003 UI Media Storage SOP Instance UID
00020010 UI Transfer Syntax UID
00020012 UI Implementation Class UID
00020013 SH Implementation Version Name
00020016 AE Source Application Entity Title
00080005 CS Specific Character Set
00080008 CS Image Type
00080012 DA Instance Creation Date
00080013 TM Instance Creation Time
00080016 UI SOP Class UID
00080018 UI SOP Instance UID
00080020 DA Study Date
00080021 DA Series Date
00080022 DA Acquisition Date
00080023 DA Content Date
0008002a DT Acquisition DateTime
00080030 TM Study Time
00080031 TM Series Time
00080032 TM Acquisition Time
00080033 TM Content Time
00080050 SH Accession Number
00080060 CS Modality
00080064 CS Conversion Type
00080068 CS Presentation Intent Type
00080070 LO Manufacturer
00080080 LO Institution Name
00080081 ST Institution Address
00080090 PN Referring Physician's Name
00080100 SH Code Value
00080102 SH Coding Scheme Designator
00080104 LO Code Meaning
00081010 SH Station Name
00081030 LO Study Description
00081032 SQ Procedure Code Sequence
0008103e LO Series Description
00081040 LO Institutional Department Name
00081048 PN Physician(s) of Record
00081050 PN Performing Physician's Name
00081060 PN Name of Physician(s) Reading Study
00081070 PN Operators' Name
00081080 LO Admitting Diagnoses Description
00081090 LO Manufacturer's Model Name
00081110 SQ Referenced Study Sequence
00081111 SQ Referenced Performed Procedure Step Sequence
00081115 SQ Referenced Series Sequence
00081140 SQ Referenced Image Sequence
00081150 UI Referenced SOP Class UID
00081155 UI Referenced SOP Instance UID
00081199 SQ Referenced SOP Sequence
00082111 ST Derivation Description
00082112 SQ Source Image Sequence
00082218 SQ Anatomic Region Sequence
00089007 CS Frame Type
00089215 SQ Derivation Code Sequence
00100010 PN Patient's Name
00100020 LO Patient ID
00100021 LO Issuer of Patient ID
00100030 DA Patient's Birth Date
00100032 TM Patient's Birth Time
00100040 CS Patient's Sex
00101000 LO Other Patient IDs
00101001 PN Other Patient Names
00101002 SQ Other Patient IDs Sequence
00101005 PN Patient's Birth Name
00101010 AS Patient's Age
00101020 DS Patient's Size
00101030 DS Patient's Weight
00101040 LO Patient's Address
00101050 LO Insurance Plan Identification
00101060 PN Patient's Mother's Birth Name
00101090 LO Medical Record Locator
00102000 LO Medical Alerts
00102110 LO Allergies
00102150 LO Country of Residence
00102152 LO Region of Residence
00102154 SH Patient's Telephone Numbers
00102160 SH Ethnic Group
00102180 SH Occupation
001021b0 LT Additional Patient History
001021c0 US Pregnancy Status
001021f0 LO Patient's Religious Preference
00102203 CS Patient's Sex Neutered
00102210 CS Anatomical Orientation Type
00102297 PN Responsible Person
00104000 LT Patient Comments
00120062 CS Patient Identity Removed
00120063 LO De-identification Method
00120064 SQ De-identification Method Code Sequence
00180010 LO Contrast/Bolus Agent
00180015 CS Body Part Examined
00180020 CS Scanning Sequence
00180021 CS Sequence Variant
00180022 CS Scan Options
00180023 CS MR Acquisition Type
00180024 SH Sequence Name
00180040 IS Cine Rate
00180050 DS Slice Thickness
00180060 DS KVP
00180080 DS Repetition Time
00180081 DS Echo Time
00180082 DS Inversion Time
00180083 DS Number of Averages
00180084 DS Imaging Frequency
00180085 SH Imaged Nucleus
00180086 IS Echo Number(s)
00180087 DS Magnetic Field Strength
00180088 DS Spacing Between Slices
00180089 IS Number of Phase Encoding Steps
00180091 IS Echo Train Length
00180093 DS Percent Sampling
00180094 DS Percent Phase Field of View
00180095 DS Pixel Bandwidth
00181000 LO Device Serial Number
00181020 LO Software Versions
00181030 LO Protocol Name
00181050 DS Spatial Resolution
00181063 DS Frame Time
00181100 DS Reconstruction Diameter
00181110 DS Distance Source to Detector
00181111 DS Distance Source to Patient
00181120 DS Gantry/Detector Tilt
00181130 DS Table Height
00181140 CS Rotation Direction
00181150 IS Exposure Time
00181151 IS X-Ray Tube Current
00181152 IS Exposure
00181153 IS Exposure in uAs
00181160 SH Filter Type
00181164 DS Imager Pixel Spacing
00181170 IS Generator Power
00181190 DS Focal Spot(s)
00181210 SH Convolution Kernel
00181250 SH Receive Coil Name
00181310 US Acquisition Matrix
00181312 CS In-plane Phase Encoding Direction
00181314 DS Flip Angle
00181316 DS SAR
00185100 CS Patient Position
00185101 CS View Position
00189004 CS Content Qualification
0020000d UI Study Instance UID
0020000e UI Series Instance UID
00200010 SH Study ID
00200011 IS Series Number
00200012 IS Acquisition Number
00200013 IS Instance Number
00200020 CS Patient Orientation
00200032 DS Image Position (Patient)
00200037 DS Image Orientation (Patient)
00200052 UI Frame of Reference UID
00200060 CS Laterality
00200062 CS Image Laterality
00201002 IS Images in Acquisition
00201040 LO Position Reference Indicator
00201041 DS Slice Location
00204000 LT Image Comments
00209056 SH Stack ID
00209057 UL In-Stack Position Number
00209111 SQ Frame Content Sequence
00209113 SQ Plane Position Sequence
00209116 SQ Plane Orientation Sequence
00209157 UL Dimension Index Values
00209221 SQ Dimension Organization Sequence
00209222 SQ Dimension Index Sequence
00280002 US Samples per Pixel
00280004 CS Photometric Interpretation
00280006 US Planar Configuration
00280008 IS Number of Frames
00280010 US Rows
00280011 US Columns
00280030 DS Pixel Spacing
00280034 IS Pixel Aspect Ratio
00280100 US Bits Allocated
00280101 US Bits Stored
00280102 US High Bit
00280103 US Pixel Representation
00280106 US Smallest Image Pixel Value
00280107 US Largest Image Pixel Value
00280120 US Pixel Padding Value
00280121 US Pixel Padding Range Limit
00280301 CS Burned In Annotation
00281050 DS Window Center
00281051 DS Window Width
00281052 DS Rescale Intercept
00281053 DS Rescale Slope
00281054 LO Rescale Type
00281055 LO Window Center & Width Explanation
00281056 CS VOI LUT Function
00281101 US Red Palette Color Lookup Table Descriptor
00281102 US Green Palette Color Lookup Table Descriptor
00281103 US Blue Palette Color Lookup Table Descriptor
00281201 OW Red Palette Color Lookup Table Data
00281202 OW Green Palette Color Lookup Table Data
00281203 OW Blue Palette Color Lookup Table Data
00282110 CS Lossy Image Compression
00282112 DS Lossy Image Compression Ratio
00282114 CS Lossy Image Compression Method
00283000 SQ Modality LUT Sequence
00283002 US LUT Descriptor
00283003 LO LUT Explanation
00283006 US LUT Data
00283010 SQ VOI LUT Sequence
00289110 SQ Pixel Measures Sequence
00289132 SQ Frame VOI LUT Sequence
00289145 SQ Pixel Value Transformation Sequence
00321032 PN Requesting Physician
00321060 LO Requested Procedure Description
00321064 SQ Requested Procedure Code Sequence
00380010 LO Admission ID
00380300 LO Current Patient Location
00380400 LO Patient's Institution Residence
00380500 LO Patient State
00400006 PN Scheduled Performing Physician's Name
00400241 AE Performed Station AE Title
00400244 DA Performed Procedure Step Start Date
00400245 TM Performed Procedure Step Start Time
00400253 SH Performed Procedure Step ID
00400254 LO Performed Procedure Step Description
00400260 SQ Performed Protocol Code Sequence
00400275 SQ Request Attributes Sequence
00401001 SH Requested Procedure ID
0040a030 DT Verification DateTime
0040a040 CS Value Type
0040a043 SQ Concept Name Code Sequence
0040a123 PN Person Name
0040a124 UI UID
0040a160 UT Text Value
0040a168 SQ Concept Code Sequence
0040a300 SQ Measured Value Sequence
0040a30a DS Numeric Value
0040a491 CS Completion Flag
0040a493 CS Verification Flag
0040a730 SQ Content Sequence
00420010 ST Document Title
00420011 OB Encapsulated Document
00420012 LO MIME Type of Encapsulated Document
00540220 SQ View Code Sequence
00620001 CS Segmentation Type
00620002 SQ Segment Sequence
00620003 SQ Segmented Property Category Code Sequence
00620004 US Segment Number
00620005 LO Segment Label
00620006 ST Segment Description
00620008 CS Segment Algorithm Type
00620009 LO Segment Algorithm Name
0062000b US Referenced Segment Number
0062000c US Recommended Display Grayscale Value
0062000d US Recommended Display CIELab Value
0062000e US Maximum Fractional Value
0062000f SQ Segmented Property Type Code Sequence
00880200 SQ Icon Image Sequence
20500020 CS Presentation LUT Shape
30040002 CS Dose Units
30040004 CS Dose Type
3004000e DS Dose Grid Scaling
30060002 SH Structure Set Label
30060020 SQ Structure Set ROI Sequence
30060039 SQ ROI Contour Sequence
52009229 SQ Shared Functional Groups Sequence
52009230 SQ Per-Frame Functional Groups Sequence
7fe00008 OF Float Pixel Data
7fe00009 OD Double Float Pixel Data
7fe00010 OB Pixel Data
`;
const KNOWN = new Map(DICTIONARY.trim().split("\n").map((line) => {
  const [tag, type] = line.split(" ", 2);
  return [`x${tag}`, { type, name: line.slice(tag.length + type.length + 2) }];
}));
// Tags outside of group 0010 that say who somebody is, or lead to a person.
const PERSONAL = new Set(["x00080050", "x00080080", "x00080081", "x00080090", "x00081010",
  "x00081040", "x00081048", "x00081050", "x00081060", "x00081070", "x00200010", "x00321032",
  "x00380010", "x00380300", "x00380400", "x00400006", "x0040a123", "x00400241"]);
// Characters of a value, rows of a table, and levels of sequences that are shown.
const CHARACTERS = 200, ROWS = 1000, DEPTH = 6;
const NUMBERS = { US: ["uint16", 2], SS: ["int16", 2], UL: ["uint32", 4], SL: ["int32", 4],
  FL: ["float", 4], FD: ["double", 8] };
const BYTES = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "UN"]);
const TEXTS = new Set(["LO", "LT", "PN", "SH", "ST", "UC", "UT"]);
// Character sets that browsers know by other names. Source: DICOM PS3.3 C.12.1.1.2.
const CHARSETS = { "ISO_IR 192": "utf-8", "ISO_IR 100": "iso-8859-1", "ISO_IR 101": "iso-8859-2",
  "ISO_IR 109": "iso-8859-3", "ISO_IR 110": "iso-8859-4", "ISO_IR 144": "iso-8859-5",
  "ISO_IR 127": "iso-8859-6", "ISO_IR 126": "iso-8859-7", "ISO_IR 138": "iso-8859-8",
  "ISO_IR 148": "iso-8859-9", "ISO_IR 166": "tis-620", "ISO_IR 13": "shift_jis",
  "GB18030": "gb18030", "GBK": "gbk" };
const JAPANESE = ["IR 87", "IR 159"], KOREAN = "IR 149", CHINESE = "IR 58";

// Returns the type of a tag; undefined for one that is not known. For files without types.
export function typeOf(tag) {
  return KNOWN.get(tag)?.type;
}

// Returns a row for each tag: its level, tag, name, value, and whether it concerns the patient; and
// whether there are more.
export function rowsOf(set) {
  const rows = [];
  const more = !added(rows, set, decoderOf(set, new TextDecoder("iso-8859-1")), 0);
  return { rows, more };
}

function added(rows, set, decoder, level) {
  for (const tag of Object.keys(set.elements).sort()) {
    if (rows.length >= ROWS) return false;
    const element = set.elements[tag], known = KNOWN.get(tag);
    const items = element.items || null;
    rows.push({
      level,
      tag: `(${tag.slice(1, 5)},${tag.slice(5)})`.toUpperCase(),
      name: known?.name || "",
      value: items ? `[${items.length}]` : valueOf(set, element, known?.type, decoder),
      personal: tag.startsWith("x0010") || PERSONAL.has(tag),
    });
    for (const item of level < DEPTH && items ? items : []) {
      const own = item.dataSet && decoderOf(item.dataSet, decoder);
      if (item.dataSet && !added(rows, item.dataSet, own, level + 1)) return false;
    }
  }
  return true;
}

function valueOf(set, element, known, decoder) {
  const type = element.vr && element.vr !== "UN" ? element.vr : known || "UN";
  const { tag, length, dataOffset } = element;
  if (element.Value) return String(element.Value);
  if (!length) return "";
  if (type in NUMBERS) {
    const [read, size] = NUMBERS[type], count = Math.floor(length / size), found = [];
    for (let at = 0; at < Math.min(count, 32); at++) found.push(set[read](tag, at));
    return cut(found.join("\\") + (count > 32 ? "\\…" : ""));
  }
  if (type === "AT") return set.attributeTag(tag)?.slice(1) || "";
  const end = Math.min(dataOffset + length, dataOffset + CHARACTERS * 4);
  const bytes = set.byteArray.subarray(dataOffset, end);
  if (BYTES.has(type)) {
    const few = [...bytes.subarray(0, 8)].map((one) => one.toString(16).padStart(2, "0")).join(" ");
    return few + (length > 8 ? ` … (${length} B)` : "");
  }
  const text = (TEXTS.has(type) ? decoder : new TextDecoder("iso-8859-1")).decode(bytes);
  return cut(text.replace(/[\0 ]+$/, ""));
}

function cut(text) {
  const shown = [...text.replace(/[\0-\x08\x0b-\x1f\x7f]/g, "\ufffd")];
  return shown.length > CHARACTERS ? `${shown.slice(0, CHARACTERS).join("")}…` : shown.join("");
}

// Returns what decodes the texts of a data set; `outer` where it names no character set.
function decoderOf(set, outer) {
  const element = set.elements.x00080005;
  if (!element || !element.length) return outer;
  const names = set.string("x00080005").split("\\").map((name) => name.trim());
  const has = (part) => names.some((name) => name.endsWith(part));
  const first = names[0].replace("ISO 2022 IR", "ISO_IR");
  const label = JAPANESE.some(has) ? "iso-2022-jp" : has(KOREAN) ? "euc-kr"
    : has(CHINESE) ? "gbk" : CHARSETS[first] || "iso-8859-1";
  return new TextDecoder(label);
}
