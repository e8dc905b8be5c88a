// The small parts that all pages are made of.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./dom.js";
import { count, exact, rate, span } from "./format.js";

// -- figures --------------------------------------------------------------------

export function Count({ value }) {
  return html`<span class=${value === 0 ? "zero" : ""} title=${value >= 1e7 ? exact(value) : undefined}>${count(value)}</span>`;
}

export function Rate({ value }) {
  const text = rate(value);
  return html`<span class=${text === "0" ? "zero" : ""}>${text}</span>`;
}

export function Span({ value }) {
  return html`<span class=${value ? "" : "zero"}>${value ? span(value) : "–"}</span>`;
}

/** The figures that a queue and all queues together have in common. */
export function flowFigures(row) {
  return [
    { name: "Ready", value: count(row.ready), tone: "ready" },
    { name: "Reserved", value: count(row.reserved), tone: "reserved" },
    { name: "Delayed", value: count(row.delayed), tone: "delayed" },
    { name: "Dead", value: count(row.dead), tone: "dead" },
    { name: "In/s", value: rate(row.put_rate), tone: "in" },
    { name: "Out/s", value: rate(row.delivered_rate), tone: "out" },
    { name: "Ack/s", value: rate(row.acknowledged_rate), tone: "acknowledged" },
  ];
}

/** A row of figures with names: [{name, value, hint, tone}]. */
export function Figures({ label, figures }) {
  return html`<dl class="figures" aria-label=${label}>
    ${figures.map(
      ({ name, value, hint, tone, wide }) => html`<div class=${`figure ${tone || ""} ${wide ? "wide" : ""}`} key=${name}>
        <dt>${tone && html`<i class=${`swatch ${tone}`} aria-hidden="true"></i>`}${name}</dt>
        <dd>${value}${hint && html` <small>${hint}</small>`}</dd>
      </div>`,
    )}
  </dl>`;
}

export function Badge({ tone = "", title, children }) {
  return html`<span class=${`badge ${tone}`} title=${title}>${children}</span>`;
}

// -- states ---------------------------------------------------------------------

export function Empty({ title, children }) {
  return html`<div class="empty"><p class="empty-title">${title}</p>${children && html`<p>${children}</p>`}</div>`;
}

export function Failure({ error, onRetry }) {
  return html`<div class="failure" role="alert">
    <p><strong>${error.message}</strong></p>
    ${onRetry && html`<button class="button" onClick=${onRetry}>Try again</button>`}
  </div>`;
}

export function Loading({ rows = 5 }) {
  return html`<div class="loading" role="status">
    <span class="unseen">Loading</span>
    ${Array.from({ length: rows }, (_, i) => html`<i key=${i} aria-hidden="true"></i>`)}
  </div>`;
}

/** A card with a heading; `actions` stand at its right. */
export function Card({ title, id, actions, note, children, tight, className = "" }) {
  return html`<section class=${`card ${className}`} aria-labelledby=${id}>
    <header class="card-head">
      <h2 id=${id}>${title}${note && html` <small>${note}</small>`}</h2>
      ${actions && html`<div class="card-actions">${actions}</div>`}
    </header>
    <div class=${tight ? "" : "card-body"}>${children}</div>
  </section>`;
}

/** One of a few choices: [[value, label, count]]. */
export function Choices({ label, options, value, onChange, name }) {
  return html`<div class="choices" role="group" aria-label=${label}>
    ${options.map(
      ([each, text, number]) => html`<button
        type="button"
        key=${each}
        data-choice=${name ? `${name}-${each}` : undefined}
        aria-pressed=${each === value ? "true" : "false"}
        onClick=${() => onChange(each)}
      >${text}${number !== undefined && html` <span class="number">${count(number)}</span>`}</button>`,
    )}
  </div>`;
}

/** First, previous, next and last page of a list that the server cuts. */
export function Pager({ offset, limit, total, onGo, what }) {
  const last = Math.max(0, Math.floor((total - 1) / limit) * limit);
  const upTo = Math.min(total, offset + limit);
  const step = (to, label, text, disabled) =>
    html`<button type="button" class="button quiet" aria-label=${label} disabled=${disabled} onClick=${() => onGo(to)}>${text}</button>`;
  return html`<nav class="pager" aria-label=${`Pages of ${what}`}>
    <span class="pager-where">${total ? `${count(offset + 1)}–${count(upTo)} of ${count(total)}` : `no ${what}`}</span>
    ${step(0, "First page", "«", offset <= 0)} ${step(Math.max(0, offset - limit), "Previous page", "‹ Previous", offset <= 0)}
    ${step(offset + limit, "Next page", "Next ›", upTo >= total)} ${step(last, "Last page", "»", upTo >= total)}
  </nav>`;
}

// -- dialogs ----------------------------------------------------------------------

/** A modal dialog with a form. `onSubmit` may fail with an error, which is shown; else the dialog closes. */
export function Dialog({ title, onClose, onSubmit, submit, danger, disabled, children }) {
  const dialog = useRef(null);
  const [error, setError] = useState("");
  const [isBusy, setBusy] = useState(false);
  useLayoutEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    dialog.current.querySelector("[data-first]")?.focus();
    return () => before instanceof HTMLElement && before.isConnected && before.focus();
  }, []);
  async function onForm(event) {
    event.preventDefault();
    if (isBusy || disabled) return;
    setBusy(true);
    setError("");
    try {
      await onSubmit(new FormData(event.target));
      onClose();
    } catch (failure) {
      setError(failure.message);
      setBusy(false);
    }
  }
  function onKey(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.currentTarget.requestSubmit();
  }
  return html`<dialog ref=${dialog} class="dialog" aria-labelledby="dialog-title" onClose=${onClose}>
    <form onSubmit=${onForm} onKeyDown=${onKey} noValidate=${!onSubmit}>
      <h2 id="dialog-title">${title}</h2>
      <div class="dialog-body">${children}</div>
      ${error && html`<p class="dialog-error" role="alert">${error}</p>`}
      <footer>
        <button type="button" class="button" onClick=${onClose}>${onSubmit ? "Cancel" : "Close"}</button>
        ${onSubmit && html`<button class=${`button ${danger ? "danger" : "primary"}`} disabled=${disabled || isBusy}>${submit}</button>`}
      </footer>
    </form>
  </dialog>`;
}

export function Field({ label, hint, children }) {
  return html`<label class="field"><span>${label}</span>${children}${hint && html`<small>${hint}</small>`}</label>`;
}

// -- messages ---------------------------------------------------------------------

let listener = () => {};
let number = 0;

/** Say something for a few seconds. */
export function toast(text, tone = "good") {
  number += 1;
  listener({ text, tone, number });
}

export function Toasts() {
  const [messages, setMessages] = useState([]);
  useEffect(() => {
    listener = (message) => {
      setMessages((all) => [...all.slice(-2), message]);
      const seconds = message.tone === "bad" ? 12 : 5;
      setTimeout(() => setMessages((all) => all.filter((each) => each !== message)), seconds * 1000);
    };
  }, []);
  return html`<div class="toasts" role="status" aria-live="polite">
    ${messages.map((message) => html`<p key=${message.number} class=${`toast ${message.tone}`}>${message.text}</p>`)}
  </div>`;
}

/** Do something that changes the server, and say how it went. */
export async function act(work, done) {
  try {
    const answer = await work();
    toast(typeof done === "function" ? done(answer) : done);
    return true;
  } catch (error) {
    toast(error.message, "bad");
    return false;
  }
}
