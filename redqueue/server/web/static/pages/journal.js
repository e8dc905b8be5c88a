// The journal's segments: what of each is still needed, and what waits to be given back to the disk.
import { html, useEffect, useState } from "../dom.js";
import { query, useLive } from "../api.js";
import { count, size } from "../format.js";
import { Badge, Card, Empty, Failure, Figures, Loading, Pager } from "../ui.js";

const LIMIT = 100;

function percent(part, whole) {
  return whole ? Math.round((100 * part) / whole) : 0;
}

/** A bar as wide as the segment is large, filled as far as it is live. */
function Bar({ segment, largest }) {
  const width = largest ? Math.max(0.5, (100 * segment.bytes) / largest) : 0;
  const live = segment.bytes ? Math.min(1, segment.live_bytes / segment.bytes) * width : 0;
  const label = `${percent(segment.live_bytes, segment.bytes)} % of ${size(segment.bytes)} is live`;
  return html`<svg class="bar" role="img" aria-label=${label} viewBox="0 0 100 10" preserveAspectRatio="none">
    <rect class="bar-dead" width=${width} height="10" /><rect class="bar-live" width=${live} height="10" />
  </svg>`;
}

export function Journal() {
  const [offset, setOffset] = useState(0);
  const { data, error, refresh } = useLive(`journal${query({ offset, limit: LIMIT })}`, { every: 2000 });
  useEffect(() => {
    document.title = "Journal · RedQueue";
  }, []);
  const segments = data ? data.segments : [];
  const largest = Math.max(0, ...segments.map((each) => each.bytes));
  return html`
    <header class="page-head"><h1 tabindex="-1">Journal</h1></header>
    ${!data && error && html`<section class="card"><${Failure} error=${error} onRetry=${refresh} /></section>`}
    ${!data && !error && html`<${Loading} />`}
    ${data && !data.journal && html`<section class="card"><${Empty} title="There is no journal.">The server runs with <code>reliable=no</code>: items live in memory only, and are gone when it ends.<//></section>`}
    ${data && data.journal && html`
      <${Figures} label="The journal" figures=${[
        { name: "On disk", value: size(data.bytes) },
        { name: "Live", value: size(data.live_bytes), hint: `${percent(data.live_bytes, data.bytes)} %`, tone: "live" },
        { name: "Live items", value: count(data.live_items) },
        { name: "Segments", value: count(data.total) },
        { name: "Compacted so far", value: count(data.compacted_segments) },
        { name: "Frames", value: count(data.frames) },
        { name: "Syncs", value: count(data.syncs) },
      ]} />
      <${Card} title="Segments" note=${data.directory} id="segments" tight>
        <table role="table" class="list segments">
          <caption class="unseen">Segments of the journal, the oldest first</caption>
          <thead role="rowgroup"><tr role="row">
            <th scope="col" role="columnheader" class="name">Segment</th>
            <th scope="col" role="columnheader" class="bar-cell">Live and dead</th>
            <th scope="col" role="columnheader" class="number">Live</th>
            <th scope="col" role="columnheader" class="number">Size</th>
            <th scope="col" role="columnheader" class="number">Live bytes, about</th>
            <th scope="col" role="columnheader" class="number">Live items</th>
          </tr></thead>
          <tbody role="rowgroup">${segments.map((each) => html`<tr role="row" key=${each.number}>
            <th scope="row" role="rowheader" class="name"><code>${each.number}</code>${each.state !== "closed" && html` <${Badge} tone=${each.state === "current" ? "good" : ""}>${each.state}<//>`}</th>
            <td role="cell" class="bar-cell"><${Bar} segment=${each} largest=${largest} /></td>
            <td role="cell" class="number" data-label="Live">${percent(each.live_bytes, each.bytes)} %</td>
            <td role="cell" class="number" data-label="Size">${size(each.bytes)}</td>
            <td role="cell" class="number" data-label="Live bytes, about">${size(each.live_bytes)}</td>
            <td role="cell" class="number" data-label="Live items">${count(each.live_items)}</td>
          </tr>`)}</tbody>
        </table>
        ${data.total > LIMIT && html`<div class="card-foot"><span></span><${Pager} offset=${offset} limit=${LIMIT} total=${data.total} what="segments" onGo=${setOffset} /></div>`}
      <//>
      <p class="hint">A segment in which nothing is live is deleted; one that is mostly dead has what is live copied to the end of the journal.</p>`}
  `;
}
