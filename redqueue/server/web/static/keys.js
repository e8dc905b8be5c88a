// Keyboard shortcuts: single keys outside of fields, and "g" followed by another key.
import { useEffect, useRef } from "./dom.js";

const FIRST_KEY_MS = 1200;

function isTyping(target) {
  return target instanceof Element && target.closest("input, textarea, select, [contenteditable]") !== null;
}

/** `actions` maps a key, or two keys with a space between them, to what it does. */
export function useKeys(actions) {
  const current = useRef(actions);
  current.current = actions;
  useEffect(() => {
    let first = "";
    let firstAt = 0;
    function onKey(event) {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
      if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
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
