// All queues: how the server is in words and figures, charts, and a list to search and sort.
import { html, useEffect, useRef, useState } from "../dom.js";
import { query, useLive } from "../api.js";
import { Charts, useHistory } from "../charts.js";
import { count, shownName } from "../format.js";
import { healthInWords } from "../health.js";
import { address, go, queueAddress } from "../router.js";
import { Badge, Count, Empty, Failure, Figures, Loading, Pager, Rate, Span, flowFigures } from "../ui.js";

const TYPING_MS = 180;
const LIMITS = [25, 50, 100, 200];

// key of the API's sort, heading, what to draw, and whether the greatest come first
const COLUMNS = [
  { key: "name", text: "Queue", className: "name", ascending: true },
  { key: "ready", text: "Ready", draw: (queue) => html`<${Count} value=${queue.ready} />` },
  { key: "reserved", text: "Reserved", draw: (queue) => html`<${Count} value=${queue.reserved} />` },
  { key: "delayed", text: "Delayed", draw: (queue) => html`<${Count} value=${queue.delayed} />` },
  { key: "dead", text: "Dead", className: "dead", draw: (queue) => html`<${Count} value=${queue.dead} />` },
  { key: "put_rate", text: "In/s", draw: (queue) => html`<${Rate} value=${queue.put_rate} />` },
  { key: "delivered_rate", text: "Out/s", draw: (queue) => html`<${Rate} value=${queue.delivered_rate} />` },
  { key: "acknowledged_rate", text: "Ack/s", draw: (queue) => html`<${Rate} value=${queue.acknowledged_rate} />` },
  { key: "oldest_age", text: "Oldest", draw: (queue) => html`<${Span} value=${queue.oldest_age} />` },
  { key: "consumers", text: "Consumers", draw: (queue) => html`<${Count} value=${queue.consumers} />` },
  { key: "waiters", text: "Waiting", draw: (queue) => html`<${Count} value=${queue.waiters} />` },
];

function Health({ server, past }) {
  const { tone, title, text } = server ? healthInWords(server, past) : { tone: "", title: "Looking", text: "" };
  return html`<section class=${`health ${tone}`} aria-label="Health">
    <i aria-hidden="true">${{ good: "✓", "": "…" }[tone] || "!"}</i>
    <p><strong>${title}.</strong> ${text}</p>
  </section>`;
}

function figuresOf(totals) {
  return [
    ...flowFigures(totals),
    { name: "Queues", value: count(totals.queues) },
  ];
}

function Heading({ column, sort, order, onSort }) {
  const isSorted = column.key === sort;
  const direction = isSorted ? (order === "asc" ? "ascending" : "descending") : undefined;
  return html`<th scope="col" role="columnheader" class=${column.className || "number"} aria-sort=${direction}>
    <button type="button" onClick=${() => onSort(column)}>${column.text}<i aria-hidden="true">${isSorted ? (order === "asc" ? "↑" : "↓") : ""}</i></button>
  </th>`;
}

function Row({ queue }) {
  return html`<tr role="row">
    <th scope="row" role="rowheader" class="name">
      <a href=${queueAddress(queue.name_url)} data-row title=${shownName(queue.name_url)}><bdi>${shownName(queue.name_url)}</bdi></a>
      ${queue.paused && html` <${Badge} tone="warn">paused<//>`}
    </th>
    ${COLUMNS.slice(1).map(
      (column) => html`<td role="cell" key=${column.key} data-label=${column.text} class=${column.className || "number"}>${column.draw(queue)}</td>`,
    )}
  </tr>`;
}

function useQuery(route) {
  const { query: given } = route;
  const limit = LIMITS.includes(Number(given.get("limit"))) ? Number(given.get("limit")) : 50;
  const sort = COLUMNS.some(({ key }) => key === given.get("sort")) ? given.get("sort") : "ready";
  const column = COLUMNS.find(({ key }) => key === sort);
  const order = given.get("order") || (column.ascending ? "asc" : "desc");
  const offset = Math.max(0, Number.parseInt(given.get("offset"), 10) || 0);
  const search = given.get("search") || "";
  return { search, sort, order, offset, limit };
}

function changed(view, by, replace = true) {
  const next = { ...view, offset: 0, ...by };
  const isUsual = { limit: 50, sort: "ready", offset: 0 };
  const shown = Object.fromEntries(Object.entries(next).filter(([key, value]) => isUsual[key] !== value));
  if (next.sort === "ready" && next.order === "desc") delete shown.order;
  go(address("", shown), { replace });
}

function focusFirst() {
  document.querySelector("[data-row]")?.focus();
}

export function Overview({ server, route }) {
  const view = useQuery(route);
  const [typed, setTyped] = useState(view.search);
  const timer = useRef(0);
  const field = useRef(null);
  const goesToFirst = useRef(false);
  const past = useHistory("history");
  const totals = past.data && past.data.totals;
  const { data, error, isOther, refresh } = useLive(`queues${query(view)}`);

  useEffect(() => {
    document.title = "Queues · RedQueue";
    if (route.query.has("search") && !view.search) field.current?.focus();
    return () => clearTimeout(timer.current);
  }, []);
  useEffect(() => {
    if (document.activeElement !== field.current) setTyped(view.search);
  }, [view.search]);
  useEffect(() => {
    if (data && !isOther && goesToFirst.current) {
      goesToFirst.current = false;
      focusFirst();
    }
    if (data && !isOther && view.offset && view.offset >= data.total) changed(view, {});
  }, [data, isOther]);

  function onType(event) {
    const text = event.target.value;
    setTyped(text);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => changed(view, { search: text.trim() }), TYPING_MS);
  }
  function onSort(column) {
    const usual = column.ascending ? "asc" : "desc";
    const other = usual === "asc" ? "desc" : "asc";
    changed(view, { sort: column.key, order: view.sort === column.key && view.order === usual ? other : usual });
  }
  function onFieldKey(event) {
    if (event.key === "Escape") event.target.blur();
    if (event.key !== "ArrowDown" && event.key !== "Enter") return;
    event.preventDefault();
    clearTimeout(timer.current);
    const search = typed.trim();
    if (search === view.search && !isOther) {
      focusFirst();
      return;
    }
    goesToFirst.current = true; // once what has been found is here
    changed(view, { search });
  }

  return html`
    <h1 class="unseen" tabindex="-1">Queues</h1>
    <${Health} server=${server} past=${past.data} />
    <${Figures} label="Totals" figures=${figuresOf(totals || {})} />
    <${Charts} past=${past} />
    <section class="card queues" aria-labelledby="queues">
      <header class="card-head">
        <h2 id="queues">Queues${data && html` <small>${data.total === totals?.queues || !view.search ? count(data.total) : `${count(data.total)} found`}</small>`}</h2>
        <div class="card-actions">
          <label class="search"><span class="unseen">Search for a queue</span>
            <input ref=${field} type="search" placeholder="Search" value=${typed} onInput=${onType} onKeyDown=${onFieldKey} autocomplete="off" spellcheck="false" />
            <kbd aria-hidden="true">/</kbd>
          </label>
          <label class="sort-by"><span class="unseen">Sort by</span>
            <select value=${view.sort} onChange=${(event) => onSort(COLUMNS.find(({ key }) => key === event.target.value))}>
              ${COLUMNS.map(({ key, text }) => html`<option key=${key} value=${key}>${text}</option>`)}
            </select>
          </label>
        </div>
      </header>
      ${!data && error && html`<${Failure} error=${error} onRetry=${refresh} />`}
      ${!data && !error && html`<${Loading} rows=${8} />`}
      ${data && !data.queues.length && (view.search
        ? html`<${Empty} title="No queue has that in its name."><button class="link" onClick=${() => { setTyped(""); changed(view, { search: "" }); }}>Show all queues</button><//>`
        : html`<${Empty} title="There is no queue yet.">A queue comes to be with its first item: <code>set jobs 0 0 5</code>.<//>`)}
      ${data && data.queues.length > 0 && html`
        <table role="table" class=${`list ${isOther ? "old" : ""}`}>
          <caption class="unseen">Queues with their items, rates and consumers; the headings sort</caption>
          <thead role="rowgroup"><tr role="row">
            ${COLUMNS.map((column) => html`<${Heading} key=${column.key} column=${column} sort=${view.sort} order=${view.order} onSort=${onSort} />`)}
          </tr></thead>
          <tbody role="rowgroup">${data.queues.map((queue) => html`<${Row} key=${queue.name_url} queue=${queue} />`)}</tbody>
        </table>
        <div class="card-foot">
          <label class="limit">Rows
            <select value=${view.limit} onChange=${(event) => changed(view, { limit: Number(event.target.value) })}>
              ${LIMITS.map((limit) => html`<option key=${limit} value=${limit}>${limit}</option>`)}
            </select>
          </label>
          <${Pager} offset=${view.offset} limit=${view.limit} total=${data.total} what="queues" onGo=${(offset) => changed(view, { offset })} />
        </div>`}
    </section>
  `;
}
