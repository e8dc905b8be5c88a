// Keyboard shortcuts: single keys outside of fields, and "g" followed by another key.
import { useLayoutEffect, useRef } from "./dom.js";

const FIRST_KEY_MS = 1200;

function isTyping(target) {
  return target instanceof Element && target.closest("input, textarea, select, [contenteditable]") !== null;
}

const OFF = "redqueue-no-keys";

/** Whether the shortcuts work. Who dictates, or hits keys by accident, may want them off. */
export function hasKeys() {
  try {
    return localStorage.getItem(OFF) === null;
  } catch {
    return true;
  }
}

export function setKeys(isOn) {
  try {
    if (isOn) localStorage.removeItem(OFF);
    else localStorage.setItem(OFF, "yes");
  } catch {
    // a browser that keeps nothing leaves them on
  }
}

/** `actions` maps a key, or two keys with a space between them, to what it does. */
export function useKeys(actions) {
  const current = useRef(actions);
  current.current = actions;
  useLayoutEffect(() => {
    let first = "";
    let firstAt = 0;
    function onKey(event) {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
      if (!hasKeys() || isTyping(event.target) || document.querySelector("dialog[open]")) return;
      const pair = first && event.timeStamp - firstAt < FIRST_KEY_MS ? `${first} ${event.key}` : "";
      const action = current.current[pair] || current.current[event.key];
      first = event.key;
      firstAt = event.timeStamp;
      if (!action) return;
      first = "";
      event.preventDefault();
      action(event);
    }
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
}
