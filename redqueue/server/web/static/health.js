// How the server is, in words.
import { rate, several, span } from "./format.js";

/** What is wrong, other than that an operator has said to take no new items: sentences. */
export function troubles(server) {
  return server.health.reasons
    .filter((reason) => !(server.draining && reason.startsWith("draining")) && !(server.readonly && reason.startsWith("read-only")))
    .map((reason) => `${reason[0].toUpperCase()}${reason.slice(1).replace(/\.?$/, ".")}`);
}

const LATELY = 30;

function mean(numbers) {
  return numbers.reduce((sum, each) => sum + each, 0) / numbers.length;
}

/** What the traffic of the last half minute does to the backlog. */
function onTraffic(past, items) {
  if (past.time.length < LATELY / 2) return "";
  const put = mean(past.put_rate.slice(-LATELY));
  const acknowledged = mean(past.acknowledged_rate.slice(-LATELY));
  const change = put - acknowledged;
  if (Math.abs(change) >= 1 && Math.abs(change) > 0.05 * Math.max(put, acknowledged)) {
    if (change > 0) return `The backlog grows by ${rate(change)} a second.`;
    if (items) return `The backlog shrinks by ${rate(-change)} a second, and is gone in about ${span(Math.ceil(items / -change))}.`;
  }
  return put >= 0.5 ? "As much is acknowledged as comes in." : "";
}

/** The state of the server: its tone, a word or two, and sentences. */
export function healthInWords(server, past) {
  const totals = past && past.totals;
  const wrong = troubles(server);
  const said = [...wrong];
  if (server.draining) said.push("The server is draining: it takes no new items, and hands out those that it has.");
  else if (server.readonly) said.push("The server is read-only: it takes no new items.");
  if (totals) {
    const items = totals.ready + totals.reserved + totals.delayed;
    if (!totals.queues) said.push("There is no queue yet.");
    else if (!items) said.push(totals.queues === 1 ? "The only queue is empty." : `All ${several(totals.queues, "queue")} are empty.`);
    else said.push(`${several(totals.queues, "queue")} ${totals.queues === 1 ? "holds" : "hold"} ${several(items, "item")}.`);
    if (past.range === "5m") said.push(onTraffic(past, items));
    if (totals.dead) said.push(`${several(totals.dead, "dead letter")} ${totals.dead === 1 ? "waits" : "wait"} for a decision.`);
  }
  const tone = wrong.length ? "bad" : server.draining || server.readonly ? "warn" : "good";
  const title = { bad: "Needs attention", warn: "No new items", good: "All is well" }[tone];
  return { tone, title, text: said.filter(Boolean).join(" ") };
}
