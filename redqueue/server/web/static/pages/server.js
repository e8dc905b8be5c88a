// The server itself: what it is, how it is, and the switches for no new items.
import { html, useEffect, useState } from "../dom.js";
import { send } from "../api.js";
import { count, exact, moment, size, span } from "../format.js";
import { Card, Dialog, Failure, Loading, act, toast } from "../ui.js";

function factsOf(server) {
  const { stats, user } = server;
  return [
    ["Version", `${server.version}${stats.compiled === "yes" ? ", compiled" : ""}`],
    ["Process", server.pid],
    ["Up for", `${span(server.uptime)}, since ${moment(server.started)}`],
    ["What is answered survives", { no: "nothing (reliable=no)", yes: "kill -9 (reliable=yes)", sync: "power loss (reliable=sync)" }[server.reliable]],
    ["Items in memory", size(server.memory_bytes)],
    ["Resident memory", size(server.rss_bytes)],
    ["Processor time", span(server.cpu_seconds)],
    ["Connections", stats.max_connections ? `${count(server.connections)} of ${count(stats.max_connections)}` : count(server.connections)],
    ["You are", user ? `${user.name}: ${user.grants.join(", ")}` : undefined],
  ].filter(([, value]) => value !== undefined);
}

function written(value) {
  return typeof value === "number" ? (Number.isInteger(value) ? exact(value) : value.toFixed(3)) : String(value);
}

function Switch({ title, text, isOn, disabled, onChange }) {
  return html`<div class="switch-line">
    <div><h3>${title}</h3><p>${text}</p></div>
    <button type="button" role="switch" class="switch" aria-checked=${isOn ? "true" : "false"} aria-label=${title} disabled=${disabled} onClick=${() => onChange(!isOn)}><i aria-hidden="true"></i></button>
  </div>`;
}

export function Server({ server, live, mayChange }) {
  const [asking, setAsking] = useState("");
  useEffect(() => {
    document.title = "Server · RedQueue";
  }, []);
  const set = (what, on) => send("POST", `server/${what}`, { on }).then(live.refresh);
  function change(what, on) {
    if (on) setAsking(what);
    else act(() => set(what, false), "The server takes new items again.");
  }
  if (!server) return live.error ? html`<section class="card"><${Failure} error=${live.error} onRetry=${live.refresh} /></section>` : html`<${Loading} />`;
  return html`
    <header class="page-head"><h1 tabindex="-1">Server</h1></header>
    <div class="columns even">
      <${Card} title="New items" id="switches">
        <${Switch} title="Read-only" isOn=${server.readonly} disabled=${!mayChange} onChange=${(on) => change("readonly", on)}
          text="Puts are refused; what is there is handed out and acknowledged as ever." />
        <${Switch} title="Drain" isOn=${server.draining} disabled=${!mayChange} onChange=${(on) => change("drain", on)}
          text="The same before a shutdown, and the readiness check says so: load balancers send no more clients here." />
        ${!mayChange && html`<p class="hint">These need the role admin.</p>`}
      <//>
      <${Card} title="Process" id="process" tight>
        <dl class="facts">${factsOf(server).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
      <//>
    </div>
    <${Card} title="All figures" note="as stats tells them" id="figures" tight>
      <dl class="facts many">${Object.entries(server.stats).map(
        ([name, value]) => html`<div key=${name}><dt><code>${name}</code></dt><dd>${written(value)}</dd></div>`,
      )}</dl>
    <//>
    ${asking && html`<${Dialog} title=${asking === "drain" ? "Drain the server?" : "Make the server read-only?"} submit=${asking === "drain" ? "Drain" : "Make read-only"}
      onClose=${() => setAsking("")} onSubmit=${async () => {
        await set(asking, true);
        toast("The server takes no new items.");
      }}>
      <p>Everybody who puts an item is refused (<code>NOT_STORED</code>) until this is switched off again. Gets and deletes go on.</p>
    <//>`}
  `;
}
