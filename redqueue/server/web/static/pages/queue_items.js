// The items of a queue: what waits, what is reserved, what is delayed and what is dead, looked into one by one.
import { html, useCallback, useEffect, useMemo, useRef, useState } from "../dom.js";
import { load, query, send } from "../api.js";
import { clock, count, moment, several, shownName, size, span } from "../format.js";
import { asText, fromBase64, hexDump, isReadable, plain, prettyJson, preview } from "../payload.js";
import { queueAddress } from "../router.js";
import { Choices, Dialog, Empty, Failure, Loading, Pager, act, toast } from "../ui.js";

const LIMIT = 20;
const DEEPEST = 10_000;
/** So many bytes of a payload are shown at most. */
const MOST_SHOWN = 256 * 1024;
const NARROW = "(max-width: 640px)";

const EMPTY = {
  ready: "Nothing is ready.",
  reserved: "Nobody holds an item.",
  delayed: "Nothing is delayed.",
  dead: "There are no dead letters.",
};

/** An item with more of its payload, where it is still at its place. */
async function withMore(path, state, position, item) {
  const { items } = await load(`${path}/items${query({ state, offset: position, limit: 1, payload_limit: MOST_SHOWN })}`);
  if (!items.length || items[0].id !== item.id) throw new Error("The item is no longer where it was. Refresh the list.");
  return items[0];
}

function Payload({ item: listed, path, state, position }) {
  const [item, setItem] = useState(listed);
  const bytes = useMemo(() => fromBase64(item.payload_base64), [item]);
  const text = useMemo(() => asText(bytes, item.truncated), [bytes]);
  const json = useMemo(() => (text === null || item.truncated ? null : prettyJson(text)), [text]);
  const usual = json ? "json" : text !== null && isReadable(text) ? "text" : "hex";
  const [form, setForm] = useState(usual);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(form === "hex" ? hexDump(bytes) : text);
      toast("Copied.");
    } catch {
      toast("The browser does not let this page copy.", "bad");
    }
  };
  const more = async () => {
    try {
      setItem(await withMore(path, state, position, item));
    } catch (error) {
      toast(error.message, "bad");
    }
  };
  const width = window.matchMedia(NARROW).matches ? 8 : 16;
  let body;
  if (!bytes.length) body = html`<p class="hint">The payload is empty.</p>`;
  else if (form === "json" && json)
    body = html`<pre class="payload" tabindex="0" aria-label="Payload">${json.map(([kind, part], i) => (kind ? html`<span key=${i} class=${`json-${kind}`}>${part}</span>` : part))}</pre>`;
  else if (form === "json") body = html`<p class="hint">${item.truncated ? "Too long to be shown as JSON: only its beginning is here." : "This is no JSON object or array."}</p>`;
  else if (form === "text" && text !== null) body = html`<pre class="payload wrap" tabindex="0" aria-label="Payload">${plain(text)}</pre>`;
  else if (form === "text") body = html`<p class="hint">This is no UTF-8 text; the hex dump shows it.</p>`;
  else body = html`<pre class="payload" tabindex="0" aria-label="Payload">${hexDump(bytes, width)}</pre>`;
  return html`<div class="item-payload">
    <div class="item-forms">
      <${Choices} label="Show the payload as" options=${[["text", "Text"], ["json", "JSON"], ["hex", "Hex"]]} value=${form} onChange=${setForm} name="payload" />
      <button type="button" class="button quiet" onClick=${copy} disabled=${!bytes.length || (form !== "hex" && text === null)}>Copy</button>
    </div>
    ${body}
    ${item.truncated && html`<p class="hint">The first ${size(bytes.length)} of ${size(item.size)}.
      ${bytes.length < MOST_SHOWN && html` <button type="button" class="link" onClick=${more}>Show more</button>`}</p>`}
  </div>`;
}

function factsOf(item) {
  const facts = [
    ["Id", String(item.id)],
    ["Size", `${size(item.size)}${item.size >= 1024 ? ` (${count(item.size)} bytes)` : ""}`],
    ["Flags", String(item.flags)],
    ["Put", `${span(item.age)} ago, ${moment(item.time)}`],
    ["Time to live", item.ttl === null || item.ttl === undefined ? "no limit" : `${span(item.ttl)} left`],
    ["Deliveries so far", String(item.deliveries)],
  ];
  if (item.losses) facts.push(["Of these lost", String(item.losses)]);
  if (item.ends_in !== undefined) facts.push(["Reservation ends in", span(item.ends_in)]);
  if (item.consumer) facts.push(["Held by", item.consumer]);
  if (item.due_in !== undefined) facts.push(["Ready in", span(item.due_in)]);
  return facts;
}

/** What has become of a dead letter, in words. */
function History({ item }) {
  return html`<section class="history" aria-label="History">
    <h3>History</h3>
    <ol>
      <li>Put on <a href=${queueAddress(item.origin_url)}><bdi>${shownName(item.origin_url)}</bdi></a> ${span(item.age)} ago, <time>${moment(item.time)}</time>.</li>
      <li>Delivered, and lost without an acknowledgement: ${several(item.losses, "time")}.</li>
      <li>Moved here as a dead letter. To redrive it puts it at the end of the queue it came from, with no losses counted.</li>
    </ol>
  </section>`;
}

function Item({ item, path, state, position, isOpen, onToggle, onRedrive, mayChange }) {
  const bytes = useMemo(() => fromBase64(item.payload_base64), [item]);
  const id = `item-${item.id}`;
  const note = item.ends_in !== undefined ? `${span(item.ends_in)} left` : item.due_in !== undefined ? `in ${span(item.due_in)}` : span(item.age);
  return html`<li class=${`item ${isOpen ? "open" : ""}`}>
    <button type="button" class="item-line" data-row aria-expanded=${isOpen ? "true" : "false"} aria-controls=${id} onClick=${onToggle}>
      <span class="item-id">#${item.id}</span>
      <span class="item-preview">${preview(bytes, item.truncated)}</span>
      ${item.deliveries > 0 && html`<span class="item-tries" title="deliveries so far">${item.deliveries}×</span>`}
      <span class="item-size">${size(item.size)}</span>
      <span class="item-age">${note}</span>
    </button>
    ${isOpen && html`<div class="item-body" id=${id}>
      <dl class="item-facts">${factsOf(item).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
      ${item.origin_url && html`<${History} item=${item} />`}
      <${Payload} item=${item} path=${path} state=${state} position=${position} />
      ${item.origin_url && html`<div class="item-actions">
        <button type="button" class="button" disabled=${!mayChange} onClick=${() => onRedrive(item)}>Redrive to <bdi>${shownName(item.origin_url)}</bdi></button>
      </div>`}
    </div>`}
  </li>`;
}

export function Items({ path, nameUrl, queue, changes, onChanged, mayChange }) {
  const [state, setState] = useState(queue.ready || !queue.reserved ? "ready" : "reserved");
  const [offset, setOffset] = useState(0);
  const [answer, setAnswer] = useState({ data: null, error: null, at: 0, state: "" });
  const [open, setOpen] = useState(null);
  const [isAsking, setAsking] = useState(false);
  const latest = useRef(0);
  const total = { ready: queue.ready, reserved: queue.reserved, delayed: queue.delayed, dead: queue.dead }[state];
  const known = useRef(total);
  known.current = total;

  const look = useCallback(async () => {
    const number = (latest.current += 1);
    try {
      const data = await load(`${path}/items${query({ state, offset, limit: LIMIT })}`);
      if (number === latest.current) setAnswer({ data, error: null, at: Date.now() / 1000, state, total: known.current });
    } catch (error) {
      if (number === latest.current) setAnswer((last) => ({ ...last, error, state }));
    }
  }, [path, state, offset]);
  useEffect(() => {
    look();
  }, [look, changes]);

  const data = answer.state === state ? answer.data : null;
  const isStale = data && answer.total !== total;
  useEffect(() => {
    // what nobody is reading yet may be brought up to date without being asked
    if (data && isStale && open === null && offset === 0 && data.items.length < LIMIT) look();
  }, [total]);

  function choose(next) {
    setState(next);
    setOffset(0);
    setOpen(null);
  }
  // dead letters are in a queue of their own, which is the one to redrive
  const deadPath = state === "dead" ? `queues/${queue.dead_letter_url}` : path;
  const redrive = (body, done) => act(() => send("POST", `${deadPath}/redrive`, body), done).then(() => onChanged());
  const options = [
    ["ready", "Ready", queue.ready],
    ["reserved", "Reserved", queue.reserved],
    ["delayed", "Delayed", queue.delayed],
    ["dead", "Dead", queue.dead],
  ];
  return html`<section class="card items" aria-labelledby="items">
    <header class="card-head">
      <h2 id="items">Items</h2>
      <div class="card-actions">
        <${Choices} label="Which items" options=${options} value=${state} onChange=${choose} name="items" />
        <button type="button" class="button quiet" data-key="r" title="Look anew (r)" onClick=${look}>Refresh</button>
      </div>
    </header>
    ${data && data.items.some((item) => item.origin_url) && (state === "dead" || state === "ready") && html`<div class="card-note">
      <span>These were lost too often, and wait for somebody to decide.</span>
      <button type="button" class="button" disabled=${!mayChange} onClick=${() => setAsking(true)}>Redrive all</button>
    </div>`}
    ${!data && answer.error && html`<${Failure} error=${answer.error} onRetry=${look} />`}
    ${!data && !answer.error && html`<${Loading} rows=${4} />`}
    ${data && !data.items.length && html`<${Empty} title=${offset ? "There are no items so far back." : EMPTY[state]} />`}
    ${data && data.items.length > 0 && html`<ol class="item-list" start=${offset + 1}>
      ${data.items.map((item, i) => html`<${Item} key=${item.id} item=${item} path=${path} state=${state} position=${offset + i} isOpen=${open === item.id} mayChange=${mayChange}
        onToggle=${() => setOpen(open === item.id ? null : item.id)}
        onRedrive=${(each) => redrive({ id: each.id }, `Item ${each.id} goes back to where it came from.`)} />`)}
    </ol>`}
    ${data && html`<div class="card-foot">
      <span class="hint">As of ${clock(answer.at)}${isStale ? "; it has changed since" : ""}</span>
      <${Pager} offset=${offset} limit=${LIMIT} total=${Math.min(data.total, DEEPEST)} what="items" onGo=${setOffset} />
    </div>`}
    ${isAsking && html`<${Dialog} title="Redrive all dead letters?" submit="Redrive all" onClose=${() => setAsking(false)}
      onSubmit=${async () => {
        await send("POST", `${deadPath}/redrive`, {});
        toast("The dead letters go back to where they came from, the oldest first.");
        onChanged();
      }}>
      <p>${several(total, "dead letter")} ${total === 1 ? "goes" : "go"} back to the end of the queue that ${total === 1 ? "it" : "each"} came from, with no losses counted.</p>
    <//>`}
  </section>`;
}
