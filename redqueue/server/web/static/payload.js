// A payload as text, as JSON and as a hex dump.
import { visible } from "./format.js";

export const SHOWN_MOST = 64 * 1024;

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

export function toBase64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}

/** The text of bytes, or null where they are not UTF-8. A character that a cut has halved at the end is left out. */
export function asText(bytes, isCut = false) {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  try {
    return decoder.decode(bytes, { stream: isCut });
  } catch {
    return null;
  }
}

/** Whether text reads as text: hardly any control characters. */
export function isReadable(text) {
  const controls = text.match(/[\u0000-\u0008\u000e-\u001f\u007f]/g);
  return !controls || controls.length * 50 < text.length;
}

/** One line that says what an item is. */
export function preview(bytes, isCut) {
  if (!bytes.length) return "(empty)";
  const head = bytes.subarray(0, 400);
  const text = asText(head, isCut || bytes.length > head.length);
  if (text !== null && isReadable(text)) return visible(text.replace(/\s+/g, " ").trim()) || "(blank)";
  return Array.from(bytes.subarray(0, 32), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

/** The text with unseen characters made visible, line ends and tabs kept. */
export function plain(text) {
  return text.split(/(\r?\n|\t)/).map((part, i) => (i % 2 ? part : visible(part))).join("");
}

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d[\d.eE+-]*)|(true|false|null)|([{}[\],])|(\s+)/gy;

/**
 * JSON with an indentation, as [class, text] pairs. It is made from the text as it is, so that long numbers, repeated
 * keys and escapes stay as they are.
 *
 * @returns null where the text is no JSON object or array
 */
export function prettyJson(text) {
  if (!/^\s*[{[]/.test(text)) return null;
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  const parts = [];
  let depth = 0;
  const newLine = () => parts.push(["", `\n${"  ".repeat(depth)}`]);
  TOKEN.lastIndex = 0;
  for (let match = TOKEN.exec(text); match; match = TOKEN.exec(text)) {
    const [, string, colon, number, word, mark] = match;
    if (string !== undefined) {
      parts.push([colon ? "key" : "string", plain(string)]);
      if (colon) parts.push(["mark", ": "]);
    } else if (number !== undefined) parts.push(["number", number]);
    else if (word !== undefined) parts.push(["word", word]);
    else if (mark === "{" || mark === "[") {
      parts.push(["mark", mark]);
      const rest = /\s*[}\]]/y;
      rest.lastIndex = TOKEN.lastIndex;
      const empty = rest.exec(text);
      if (empty) {
        parts.push(["mark", empty[0].trim()]);
        TOKEN.lastIndex = rest.lastIndex;
      } else {
        depth += 1;
        newLine();
      }
    } else if (mark === "}" || mark === "]") {
      depth -= 1;
      newLine();
      parts.push(["mark", mark]);
    } else if (mark === ",") {
      parts.push(["mark", ","]);
      newLine();
    }
  }
  return parts;
}

/** Lines of offset, bytes and characters. */
export function hexDump(bytes, width = 16) {
  const lines = [];
  for (let offset = 0; offset < bytes.length; offset += width) {
    const row = bytes.subarray(offset, offset + width);
    const hex = Array.from(row, (byte) => byte.toString(16).padStart(2, "0"));
    const characters = Array.from(row, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·")).join("");
    const groups = [];
    for (let i = 0; i < width; i += 8) groups.push(hex.slice(i, i + 8).join(" ").padEnd(23));
    lines.push(`${offset.toString(16).padStart(6, "0")}  ${groups.join("  ")}  ${characters}`);
  }
  return lines.join("\n");
}
