// One queue: its figures and charts, its items, its settings, and what an operator may do with it.
import { html, useEffect, useState } from "../dom.js";
import { send, useLive } from "../api.js";
import { Charts, useHistory } from "../charts.js";
import { ConfirmDialog, PauseDialog, PutDialog } from "./queue_dialogs.js";
import { Items } from "./queue_items.js";
import { count, several, shortSpan, shownName, size, span } from "../format.js";
import { go, queueAddress } from "../router.js";
import { Badge, Card, Empty, Failure, Figures, Loading, act, flowFigures } from "../ui.js";

const SETTINGS = {
  reserve_timeout: ["Reservation deadline", "seconds"],
  prefetch: ["Reservations per consumer"],
  wait: ["Default wait of get", "seconds"],
  ttl: ["Time to live", "seconds"],
  max_deliveries: ["Lost deliveries until dead"],
  dead_letter: ["Dead letters go to"],
  retry_delay: ["Delay after a loss", "seconds"],
  requeue: ["A lost item goes to the"],
  max_items: ["Most items"],
  max_bytes: ["Most bytes", "bytes"],
  overflow: ["When full"],
  fanout_only: ["Copies to children only"],
};
const NO_LIMIT = { ttl: "no limit", max_deliveries: "never dead", max_items: "no limit", max_bytes: "no limit", wait: "none", retry_delay: "none" };

function written(name, value) {
  if (name in NO_LIMIT && value === 0) return NO_LIMIT[name];
  const unit = (SETTINGS[name] || [])[1];
  if (unit === "seconds") return span(value);
  if (unit === "bytes") return size(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (name === "overflow") return value === "refuse" ? "new items are refused" : "the oldest items go";
  return String(value);
}

function Settings({ queue }) {
  return html`<${Card} title="Settings in force" id="settings" tight>
    <dl class="facts">
      ${Object.entries(queue.settings).map(
        ([name, value]) => html`<div key=${name}>
          <dt title=${name}>${(SETTINGS[name] || [name])[0]} <code>${name}</code></dt>
          <dd>${name === "dead_letter" ? html`<a href=${queueAddress(queue.dead_letter_url)}><bdi>${shownName(queue.dead_letter_url)}</bdi></a>` : written(name, value)}</dd>
        </div>`,
      )}
    </dl>
  <//>`;
}

function Past({ queue }) {
  const facts = [
    ["Put", queue.put_total],
    ["Delivered", queue.delivered_total],
    ["Acknowledged", queue.acknowledged_total],
    ["Given back", queue.released_total],
    ["Lost with their connection", queue.disconnected_total],
    ["Lost to the deadline", queue.timed_out_total],
    ["Expired", queue.expired_total],
    ["Discarded when full", queue.discarded_total],
    ["Became dead letters", queue.dead_lettered_total],
  ].filter(([, value]) => value !== undefined);
  return html`<${Card} title="Since the queue came to be" id="past" tight>
    <dl class="facts">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${count(value)}</dd></div>`)}</dl>
  <//>`;
}

function figuresOf(queue) {
  return [
    ...flowFigures(queue),
    { name: "Oldest", value: queue.oldest_age ? shortSpan(queue.oldest_age) : "–" },
    { name: "Payload", value: size(queue.bytes) },
    { name: "Consumers", value: count(queue.consumers) },
    { name: "Waiting", value: count(queue.waiters) },
  ];
}

/** What is going on in the queue, in words; nothing where nothing needs to be said. */
function remark(queue) {
  if (queue.paused) {
    const until = queue.resumes_in !== null ? `for another ${span(Math.ceil(queue.resumes_in))}` : "until it is resumed or the server ends";
    return `Paused ${until}: nothing is handed out, new items are taken.`;
  }
  if (queue.ready && !queue.consumers && !queue.waiters && !queue.delivered_rate && !queue.takes_dead_letters) return "Nobody takes items out of this queue at the moment.";
  return "";
}

export function QueuePage({ nameUrl, live: server, mayChange: mayChangeAll }) {
  const path = `queues/${nameUrl}`;
  const name = shownName(nameUrl);
  const { data: queue, error, refresh } = useLive(path);
  const past = useHistory(`${path}/history`);
  const [dialog, setDialog] = useState("");
  const [changes, setChanges] = useState(0);
  useEffect(() => {
    document.title = `${name} · RedQueue`;
  }, [name]);

  const close = () => setDialog("");
  function changed() {
    setChanges((each) => each + 1);
    refresh();
    server.refresh();
  }
  const isGone = error && error.status === 404;
  const isPaused = Boolean(queue && queue.paused);
  const may = queue && !isGone ? queue.may : { put: true, change: mayChangeAll };
  const button = (text, key, onClick, more = {}) => {
    const isDenied = key === "n" ? !may.put : !may.change;
    return html`<button
      type="button" class=${`button ${more.tone || ""}`} data-key=${key} disabled=${isDenied || more.disabled}
      title=${isDenied ? `This needs the role ${key === "n" ? "writer" : "admin"}` : key && `Key: ${key}`} onClick=${onClick}
    >${text}</button>`;
  };

  return html`
    <header class="page-head">
      <p class="crumbs"><a href="#/">Queues</a> <span aria-hidden="true">/</span></p>
      <div class="page-title">
        <h1 tabindex="-1" class="queue-name"><bdi>${name}</bdi></h1>
        ${isPaused && html`<${Badge} tone="warn">paused<//>`}
        ${queue && queue.takes_dead_letters && html`<${Badge}>dead letters<//>`}
        <div class="actions">
          ${button("Put an item", "n", () => setDialog("put"), { tone: "primary" })}
          ${isPaused
            ? button("Resume", "p", () => act(() => send("POST", `${path}/resume`), "The queue hands out items again.").then(changed))
            : button("Pause", "p", () => setDialog("pause"), { disabled: !queue || isGone })}
          ${button("Flush", undefined, () => setDialog("flush"), { tone: "danger-quiet", disabled: !queue || isGone })}
          ${button("Drop", undefined, () => setDialog("drop"), { tone: "danger-quiet", disabled: !queue || isGone })}
        </div>
      </div>
      ${!isGone && html`<p class=${`remark ${isPaused ? "warn" : ""}`}>${queue ? remark(queue) : ""}</p>`}
    </header>
    ${isGone && html`<section class="card"><${Empty} title="There is no such queue now.">
      A queue is there while it holds an item or somebody waits for one. Put an item, and it is there again.
    <//></section>`}
    ${!queue && !error && html`<${Figures} label="Figures of the queue" figures=${figuresOf({})} /><${Loading} rows=${6} />`}
    ${!queue && error && !isGone && html`<section class="card"><${Failure} error=${error} onRetry=${refresh} /></section>`}
    ${queue && !isGone && html`
      <${Figures} label="Figures of the queue" figures=${figuresOf(queue)} />
      <${Charts} past=${past} />
      <div class="columns">
        <${Items} path=${path} nameUrl=${nameUrl} queue=${queue} changes=${changes} onChanged=${changed} mayChange=${may.change} />
        <div class="column">
          <${Settings} queue=${queue} />
          <${Past} queue=${queue} />
          ${queue.children.length > 0 && html`<${Card} title="Children" note="each gets a copy" id="children">
            <ul class="plain">${queue.children.map((child) => html`<li key=${child.name_url}><a href=${queueAddress(child.name_url)}><bdi>${shownName(child.name_url)}</bdi></a></li>`)}</ul>
          <//>`}
        </div>
      </div>`}
    ${dialog === "put" && html`<${PutDialog} path=${path} name=${name} onClose=${close} onDone=${changed} />`}
    ${dialog === "pause" && html`<${PauseDialog} path=${path} name=${name} onClose=${close} onDone=${changed} />`}
    ${dialog === "flush" && html`<${ConfirmDialog} title="Flush this queue?" verb="Flush" name=${name} onClose=${close} done="The queue is empty."
      work=${() => send("POST", `${path}/flush`)} onDone=${changed}>
      <p>All of its items are deleted for ever: ${several(queue?.items ?? 0, "item")}, reserved and delayed ones included. Its dead letters, which are in another queue, stay.</p>
    <//>`}
    ${dialog === "drop" && html`<${ConfirmDialog} title="Drop this queue?" verb="Drop" name=${name} onClose=${close} done="The queue is gone."
      work=${() => send("DELETE", path)} onDone=${() => { server.refresh(); go("#/"); }}>
      <p>All of its items are deleted for ever: ${several(queue?.items ?? 0, "item")}, reserved and delayed ones included, and its subscription and its pause with them.</p>
    <//>`}
  `;
}
