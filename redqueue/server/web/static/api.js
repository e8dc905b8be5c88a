// Talks to the server: one place for addresses, the header against cross-site requests, and errors in words.
import { useCallback, useEffect, useRef, useState } from "./dom.js";

const LIVE_MS = 1500;
const HIDDEN_MS = 30000;
const RETRY_MOST_MS = 15000;

export class ApiError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

function inWords(status, said) {
  if (status === 401) return "The server wants a user name and a password. Reload the page to sign in.";
  if (status === 403) return `You may not do that: ${said || "it needs the role admin"}.`.replace(/\.\.$/, ".");
  return said || `The server answered with status ${status}.`;
}

async function answerOf(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    body = null;
  }
  if (!response.ok) throw new ApiError(response.status, inWords(response.status, body && body.error));
  return body;
}

export async function load(path, signal) {
  return answerOf(await fetch(`api/${path}`, { signal, headers: { Accept: "application/json" }, cache: "no-store" }));
}

/** A changing request; the header is one that no other site's form can send. */
export async function send(method, path, body) {
  const headers = { Accept: "application/json", "X-RedQueue-Request": "1" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(`api/${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new ApiError(0, "The server cannot be reached. Nothing is known of what became of the request.");
  }
  return answerOf(response);
}

export function query(parameters) {
  const entries = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== "");
  return entries.length ? `?${new URLSearchParams(entries)}` : "";
}

/**
 * What a path answers, asked for again and again: often while the page is seen, seldom while it is hidden, and with
 * growing pauses while the server cannot be reached. `take` makes of the last data and an answer the new data.
 */
export function useLive(path, { every = LIVE_MS, take = null } = {}) {
  const [state, setState] = useState({ data: null, error: null, path: null, at: 0 });
  const again = useRef(() => {});
  const taking = useRef(take);
  taking.current = take;
  useEffect(() => {
    if (path === null) return undefined;
    let timer = 0;
    let failures = 0;
    let controller = null;
    let ended = false;
    let data = null;
    async function ask() {
      clearTimeout(timer);
      controller?.abort();
      const mine = (controller = new AbortController());
      try {
        const asked = typeof path === "function" ? path(data) : path;
        const answer = await load(asked, mine.signal);
        if (ended || mine !== controller) return;
        data = taking.current ? taking.current(data, answer) : answer;
        failures = 0;
        setState({ data, error: null, path, at: Date.now() });
      } catch (error) {
        if (ended || mine !== controller) return;
        failures += 1;
        const told = error instanceof ApiError ? error : new ApiError(0, "The server cannot be reached.");
        setState((last) => ({ ...last, error: told, path }));
      }
      const pause = failures ? Math.min(RETRY_MOST_MS, every * 2 ** Math.min(failures, 6)) : every;
      timer = setTimeout(ask, document.hidden ? Math.max(HIDDEN_MS, pause) : pause);
    }
    function onVisible() {
      if (!document.hidden) ask();
    }
    again.current = ask;
    document.addEventListener("visibilitychange", onVisible);
    ask();
    return () => {
      ended = true;
      clearTimeout(timer);
      controller?.abort();
      document.removeEventListener("visibilitychange", onVisible);
    };
  }, [path, every]);
  const refresh = useCallback(() => again.current(), []);
  return { ...state, isOther: state.path !== path, refresh };
}
