// The frame around all pages: navigation, theme, help, and what is wrong with the connection to the server.
import { html, render, useEffect, useRef, useState } from "./dom.js";
import { useLive } from "./api.js";
import { go, useRoute } from "./router.js";
import { hasKeys, setKeys, useKeys } from "./keys.js";
import { Dialog, Toasts } from "./ui.js";
import { troubles } from "./health.js";
import { Overview } from "./pages/overview.js";
import { QueuePage } from "./pages/queue.js";
import { Connections } from "./pages/connections.js";
import { Journal } from "./pages/journal.js";
import { Server } from "./pages/server.js";

const PLACES = [
  ["", "Queues", "q"],
  ["connections", "Connections", "c"],
  ["journal", "Journal", "j"],
  ["server", "Server", "s"],
];

const SHORTCUTS = [
  ["/", "search for a queue"],
  ["g q", "queues"],
  ["g c", "connections"],
  ["g j", "journal"],
  ["g s", "server"],
  ["j  k", "next, previous queue or item"],
  ["]  [", "next, previous page of a list"],
  ["n", "put an item (on a queue's page)"],
  ["p", "pause or resume (on a queue's page)"],
  ["r", "look at the items anew (on a queue's page)"],
  ["t", "light, dark, as the system"],
  ["?", "this help"],
  ["Esc", "close what is open"],
];

const THEMES = { "": "As the system", light: "Light", dark: "Dark" };

function useTheme() {
  const root = document.documentElement;
  const [theme, setTheme] = useState(root.dataset.theme || "");
  function next() {
    const names = Object.keys(THEMES);
    const chosen = names[(names.indexOf(theme) + 1) % names.length];
    if (chosen) root.dataset.theme = chosen;
    else delete root.dataset.theme;
    try {
      localStorage.setItem("redqueue-theme", chosen);
    } catch {
      // a browser that keeps nothing forgets it with the page
    }
    setTheme(chosen);
  }
  return [theme, next];
}

/** The focus goes to the next or previous of the links and buttons that stand for the rows of a list. */
function step(by) {
  const rows = [...document.querySelectorAll("[data-row]")];
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement);
  const to = at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by));
  rows[to].focus();
  rows[to].scrollIntoView({ block: "nearest" });
}

function press(selector) {
  const button = document.querySelector(selector);
  if (button && !button.disabled) button.click();
}

function Help({ onClose }) {
  const [isOn, setOn] = useState(hasKeys);
  const change = () => {
    setKeys(!isOn);
    setOn(!isOn);
  };
  return html`<${Dialog} title="Keyboard" onClose=${onClose}>
    <dl class="shortcuts">
      ${SHORTCUTS.map(
        ([keys, what]) => html`<div key=${keys}>
          <dt>${keys.split(/( +)/).map((key) => (key.trim() ? html`<kbd>${key}</kbd>` : " "))}</dt>
          <dd>${what}</dd>
        </div>`,
      )}
    </dl>
    <label class="check"><input type="checkbox" checked=${isOn} onChange=${change} /> These keys are in use</label>
  <//>`;
}

function State({ server, error }) {
  const [tone, text] = error
    ? error.status === 503 ? ["warn", "Starting"] : ["bad", "Out of touch"]
    : !server
      ? ["", "Connecting"]
      : troubles(server).length
        ? ["bad", "Needs attention"]
        : server.draining
          ? ["warn", "Draining"]
          : server.readonly
            ? ["warn", "Read-only"]
            : ["good", "Healthy"];
  return html`<span class=${`state ${tone}`}><i aria-hidden="true"></i>${text}</span>`;
}

function App() {
  const route = useRoute();
  const live = useLive("server", { every: 3000 });
  const [isHelp, setHelp] = useState(false);
  const [theme, nextTheme] = useTheme();
  const main = useRef(null);
  const first = useRef(true);
  const [place = ""] = route.parts;
  const name = place === "queues" ? route.parts[1] : undefined;

  useEffect(() => {
    if (!first.current) {
      main.current.querySelector("h1")?.focus({ preventScroll: true });
      window.scrollTo(0, 0);
    }
    first.current = false;
  }, [place, name]);

  useKeys({
    "?": () => setHelp(true),
    t: nextTheme,
    j: () => step(1),
    k: () => step(-1),
    "]": () => press(".pager [aria-label='Next page']"),
    "[": () => press(".pager [aria-label='Previous page']"),
    n: () => press("[data-key='n']"),
    p: () => press("[data-key='p']"),
    r: () => press("[data-key='r']"),
    "/": () => {
      const field = document.querySelector("[type='search']");
      if (field) field.select();
      else go("#/?search=");
    },
    ...Object.fromEntries(PLACES.map(([path, , key]) => [`g ${key}`, () => go(`#/${path}`)])),
  });

  const server = live.data;
  const shared = { live, server, route, mayChange: !server || server.may_change };
  const page =
    name !== undefined
      ? html`<${QueuePage} key=${name} nameUrl=${name} ...${shared} />`
      : place === "connections"
        ? html`<${Connections} ...${shared} />`
        : place === "journal"
          ? html`<${Journal} ...${shared} />`
          : place === "server"
            ? html`<${Server} ...${shared} />`
            : html`<${Overview} ...${shared} />`;
  const here = name !== undefined ? "" : place;

  function skip(event) {
    event.preventDefault();
    main.current.focus();
  }

  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <header class="top">
      <a class="brand" href="#/" aria-label="RedQueue, the queues">
        <svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true">
          <rect class="brand-ground" width="32" height="32" rx="8" />
          <rect x="7" y="8" width="12" height="4" rx="2" fill="#fff" />
          <rect x="7" y="14" width="18" height="4" rx="2" fill="#fff" opacity=".8" />
          <rect x="7" y="20" width="18" height="4" rx="2" fill="#fff" opacity=".55" />
        </svg>
        <span>RedQueue</span>
      </a>
      <nav aria-label="Pages">
        ${PLACES.map(
          ([path, text]) => html`<a key=${path} href=${`#/${path}`} aria-current=${path === here ? "page" : undefined}>${text}</a>`,
        )}
      </nav>
      <div class="top-end">
        <${State} server=${server} error=${live.error} />
        <button class="button quiet icon" type="button" onClick=${nextTheme} aria-label=${`Theme: ${THEMES[theme]}`} title=${`Theme: ${THEMES[theme]} (t)`}>
          ${theme === "light" ? "☀" : theme === "dark" ? "☾" : "◐"}
        </button>
        <button class="button quiet icon" type="button" onClick=${() => setHelp(true)} aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)">?</button>
      </div>
    </header>
    ${live.error && html`<div class="banner bad" role="alert">
      ${live.error.message} ${server ? "What you see is what was known before." : ""} <button class="link" onClick=${live.refresh}>Try again</button>
    </div>`}
    <main id="main" ref=${main} tabindex="-1" class=${live.error && server ? "old" : ""}>${page}</main>
    <footer class="bottom">
      ${server ? html`RedQueue ${server.version}` : "RedQueue"} · <a href="api/openapi.json">API</a> · <a href="metrics">Metrics</a>
      <span class="bottom-keys"> · <kbd>?</kbd> for the keys</span>
    </footer>
    ${isHelp && html`<${Help} onClose=${() => setHelp(false)} />`}
    <${Toasts} />
  `;
}

render(html`<${App} />`, document.getElementById("app"));
