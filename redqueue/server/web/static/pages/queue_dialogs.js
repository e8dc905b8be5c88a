// The dialogs of a queue's page.
import { html, useState } from "../dom.js";
import { send } from "../api.js";
import { span } from "../format.js";
import { Choices, Dialog, Field, toast } from "../ui.js";

function wholeNumber(text, what, most) {
  const trimmed = String(text).trim();
  if (!trimmed) return undefined;
  const value = Number(trimmed);
  if (!/^\d+$/.test(trimmed) || value > most) throw new Error(`${what} wants a whole number, at most ${most}.`);
  return value;
}

function seconds(text, what) {
  const trimmed = String(text).trim();
  if (!trimmed) return undefined;
  if (!/^\d+(\.\d+)?$/.test(trimmed)) throw new Error(`${what} wants a number of seconds, such as 90 or 0.5.`);
  return Number(trimmed);
}

export function PutDialog({ path, name, onClose, onDone }) {
  const [form, setForm] = useState("payload");
  async function onSubmit(fields) {
    const body = {
      [form]: form === "payload" ? fields.get("payload") : fields.get("payload").replace(/\s+/g, ""),
      flags: wholeNumber(fields.get("flags"), "Flags", 2 ** 32 - 1),
      ttl: wholeNumber(fields.get("ttl"), "Time to live", 30 * 86400),
      delay: seconds(fields.get("delay"), "Delay"),
    };
    const answer = await send("POST", `${path}/items`, body);
    toast(answer && answer.id !== undefined ? `Put as item ${answer.id}.` : "The item is put.");
    onDone();
  }
  return html`<${Dialog} title=${html`Put an item on <bdi>${name}</bdi>`} submit="Put" onSubmit=${onSubmit} onClose=${onClose}>
    <${Choices} label="What the payload is written as" options=${[["payload", "Text"], ["payload_base64", "Base64"]]} value=${form} onChange=${setForm} name="form" />
    <label class="field"><span class="unseen">Payload</span>
      <textarea data-first name="payload" rows="8" spellcheck="false" placeholder=${form === "payload" ? "The payload, as it is to be stored" : "AAEC…"}></textarea>
    </label>
    <div class="field-row">
      <${Field} label="Flags"><input name="flags" inputmode="numeric" placeholder="0" autocomplete="off" /><//>
      <${Field} label="Time to live" hint="seconds"><input name="ttl" inputmode="numeric" placeholder="for ever" autocomplete="off" /><//>
      <${Field} label="Delay" hint="seconds"><input name="delay" inputmode="decimal" placeholder="none" autocomplete="off" /><//>
    </div>
    <p class="hint"><kbd>Ctrl</kbd> <kbd>Enter</kbd> puts it.</p>
  <//>`;
}

const PAUSES = [["60", "1 min"], ["600", "10 min"], ["3600", "1 h"], ["", "Until resumed"]];

export function PauseDialog({ path, name, onClose, onDone }) {
  const [text, setText] = useState("600");
  async function onSubmit() {
    const value = wholeNumber(text, "The pause", 2 ** 31 - 1);
    if (value === 0) throw new Error("A pause takes a second at least; leave it empty to pause until you resume.");
    await send("POST", `${path}/pause`, value === undefined ? {} : { seconds: value });
    toast(value === undefined ? "Paused until it is resumed." : `Paused for ${span(value)}.`);
    onDone();
  }
  return html`<${Dialog} title=${html`Pause <bdi>${name}</bdi>`} submit="Pause" onSubmit=${onSubmit} onClose=${onClose}>
    <p>Nothing is handed out while a queue is paused: gets miss, or wait. New items are taken, and what is reserved can be acknowledged.</p>
    <${Choices} label="How long" options=${PAUSES} value=${text} onChange=${setText} name="pause" />
    <${Field} label="Seconds" hint="empty: until it is resumed, or the server ends">
      <input data-first name="seconds" inputmode="numeric" value=${text} onInput=${(event) => setText(event.target.value)} autocomplete="off" />
    <//>
  <//>`;
}

/** Something that cannot be undone: the name is to be typed. */
export function ConfirmDialog({ title, verb, name, work, done, onClose, onDone, children }) {
  const [typed, setTyped] = useState("");
  async function onSubmit() {
    await work();
    toast(done);
    onDone();
  }
  return html`<${Dialog} title=${title} submit=${verb} danger disabled=${typed !== name} onSubmit=${onSubmit} onClose=${onClose}>
    ${children}
    <${Field} label=${html`Type the name to confirm: <code class="to-type"><bdi>${name}</bdi></code>`}>
      <input data-first name="name" value=${typed} onInput=${(event) => setTyped(event.target.value)} autocomplete="off" autocapitalize="off" spellcheck="false" />
    <//>
  <//>`;
}
