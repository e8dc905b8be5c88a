// Addresses behind the "#": every view of the page has one, and nothing of it reaches the server.
import { useEffect, useState } from "./dom.js";

export function currentRoute() {
  const [path, search = ""] = (location.hash.slice(1) || "/").split("?");
  return { parts: path.split("/").filter(Boolean), query: new URLSearchParams(search), hash: location.hash };
}

export function address(path, query = {}) {
  const entries = Object.entries(query).filter(([, value]) => value !== undefined && value !== "" && value !== null);
  return `#/${path}${entries.length ? `?${new URLSearchParams(entries)}` : ""}`;
}

/** The address of a queue's page; the name is in its percent-encoded form already. */
export function queueAddress(nameUrl) {
  return `#/queues/${nameUrl}`;
}

export function go(hash, { replace = false } = {}) {
  if (!replace) {
    location.hash = hash;
    return;
  }
  history.replaceState(null, "", hash);
  window.dispatchEvent(new HashChangeEvent("hashchange"));
}

export function useRoute() {
  const [route, setRoute] = useState(currentRoute);
  useEffect(() => {
    const onChange = () => setRoute(currentRoute());
    window.addEventListener("hashchange", onChange);
    return () => window.removeEventListener("hashchange", onChange);
  }, []);
  return route;
}
