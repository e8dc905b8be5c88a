// Who is connected.
import { html, useEffect, useState } from "../dom.js";
import { query, useLive } from "../api.js";
import { count, several } from "../format.js";
import { Card, Count, Empty, Failure, Loading, Pager } from "../ui.js";

const LIMIT = 100;

// field, heading, what to draw; only what the server tells has a column
const COLUMNS = [
  ["user", "User", (value) => value || "–"],
  ["role", "Role", (value) => value || "–"],
  ["reserved", "Reserved", (value) => html`<${Count} value=${value} />`, "number"],
  ["waiting", "Waiting", (value) => (value ? "yes" : html`<span class="zero">no</span>`)],
];

export function Connections() {
  const [offset, setOffset] = useState(0);
  const { data, error, refresh } = useLive(`connections${query({ offset, limit: LIMIT })}`, { every: 2000 });
  useEffect(() => {
    document.title = "Connections · RedQueue";
  }, []);
  const columns = data && data.connections.length ? COLUMNS.filter(([key]) => key in data.connections[0]) : [];
  return html`
    <header class="page-head"><h1 tabindex="-1">Connections</h1></header>
    <${Card} title=${data ? several(data.total, "connection") : "Connections"} id="connections" tight>
      ${!data && error && html`<${Failure} error=${error} onRetry=${refresh} />`}
      ${!data && !error && html`<${Loading} />`}
      ${data && !data.connections.length && html`<${Empty} title="Nobody is connected.">Clients connect to the memcached port.<//>`}
      ${data && data.connections.length > 0 && html`
        <table role="table" class="list">
          <caption class="unseen">Connections</caption>
          <thead role="rowgroup"><tr role="row">
            <th scope="col" role="columnheader" class="name">Client</th>
            ${columns.map(([key, text, , className]) => html`<th scope="col" role="columnheader" key=${key} class=${className || ""}>${text}</th>`)}
          </tr></thead>
          <tbody role="rowgroup">${data.connections.map((each) => html`<tr role="row" key=${each.number}>
            <th scope="row" role="rowheader" class="name"><code>${each.address}</code> <span class="hint">#${count(each.number)}</span></th>
            ${columns.map(([key, text, draw, className]) => html`<td role="cell" key=${key} data-label=${text} class=${className || ""}>${draw(each[key])}</td>`)}
          </tr>`)}</tbody>
        </table>
        ${data.total > LIMIT && html`<div class="card-foot"><span></span><${Pager} offset=${offset} limit=${LIMIT} total=${data.total} what="connections" onGo=${setOffset} /></div>`}`}
    <//>
  `;
}
