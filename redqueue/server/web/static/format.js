// Figures, times and names as people read them.

const GROUPED = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const CLOCK = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const MOMENT = new Intl.DateTimeFormat("en", {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});

export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/** A whole number with its digits in groups; from ten millions on in a short form. */
export function count(value) {
  if (!isNumber(value)) return "–";
  return Math.abs(value) < 1e7 ? GROUPED.format(value) : SHORT.format(value);
}

export function exact(value) {
  return isNumber(value) ? GROUPED.format(value) : "";
}

/** A figure beside an axis: 250, 1.5K, 20K, 3M. */
export function short(value) {
  return SHORT.format(value);
}

/** So many per second. */
export function rate(value) {
  if (!isNumber(value)) return "–";
  if (value < 0.05) return "0";
  return value < 10 ? value.toFixed(1) : count(Math.round(value));
}

/** "one item", "7 items" */
export function several(value, one, many = `${one}s`) {
  return value === 1 ? `1 ${one}` : `${count(value)} ${many}`;
}

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

/** A span of seconds, in its two greatest units. */
export function span(seconds) {
  if (!isNumber(seconds)) return "–";
  if (seconds < 0) return `-${span(-seconds)}`;
  if (seconds < 0.0005) return "0 s";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${Number(seconds.toFixed(1))} s`;
  let rest = Math.round(seconds);
  const found = [];
  for (const [length, unit] of UNITS) {
    const whole = Math.floor(rest / length);
    rest -= whole * length;
    if (whole || found.length) found.push(whole ? `${whole} ${unit}` : "");
    if (found.length === 2) break;
  }
  return found.filter(Boolean).join(" ");
}

/** A span of seconds, in one unit, for where there is little room. */
export function shortSpan(seconds) {
  const [length, unit] = UNITS.find(([each]) => seconds >= each) || [1, "s"];
  if (length === 1) return span(seconds);
  const value = seconds / length;
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Bytes, with the project's units: powers of 1024. */
export function size(bytes) {
  if (!isNumber(bytes)) return "–";
  let value = bytes;
  let unit = 0;
  while (value >= 1023.5 && unit < SIZES.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit && value < 9.95 ? value.toFixed(1) : Math.round(value)} ${SIZES[unit]}`;
}

export function clock(unixSeconds) {
  return CLOCK.format(unixSeconds * 1000);
}

export function moment(unixSeconds) {
  return MOMENT.format(unixSeconds * 1000);
}

// What would not be seen, or would turn the text around it: controls, zero-width characters, marks of direction.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/gu;

function escaped(character) {
  return `\\u${character.codePointAt(0).toString(16).padStart(4, "0")}`;
}

export function visible(text) {
  return text.replace(UNSEEN, escaped);
}

/** The bytes of a percent-encoded name. */
export function bytesOfName(nameUrl) {
  const bytes = [];
  for (let i = 0; i < nameUrl.length; i += 1) {
    if (nameUrl[i] === "%") {
      bytes.push(Number.parseInt(nameUrl.slice(i + 1, i + 3), 16));
      i += 2;
    } else {
      bytes.push(nameUrl.charCodeAt(i));
    }
  }
  return new Uint8Array(bytes);
}

/** Bytes as text to show; those that are no UTF-8 as \xff, as everywhere in RedQueue. */
function shownBytes(bytes) {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let text = "";
  for (let i = 0; i < bytes.length; ) {
    const first = bytes[i];
    let length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    try {
      text += decoder.decode(bytes.subarray(i, i + length));
    } catch {
      text += `\\x${first.toString(16).padStart(2, "0")}`;
      length = 1;
    }
    i += length;
  }
  return text;
}

/** A queue's name to show, of its percent-encoded form. */
export function shownName(nameUrl) {
  return visible(shownBytes(bytesOfName(nameUrl)));
}
