"use strict";
// What both pages share: how things stand, live, and requests that change it.
const element = (id) => document.getElementById(id);
const named = (ticket) => ticket.name ? `${ticket.number} · ${ticket.name}` : `${ticket.number}`;
let state = null;
let ahead = 0; // of this machine's clock before the server's, in seconds

const secondsLeft = (desk) => Math.max(0, Math.ceil(desk.until - (Date.now() / 1000 - ahead)));

function live(draw) {
  const events = new EventSource("/live");
  const online = (yes) => {
    element("online").textContent = yes ? "live" : "no connection, trying again …";
    element("online").className = yes ? "yes" : "no";
  };
  events.onmessage = (event) => {
    state = JSON.parse(event.data);
    ahead = Date.now() / 1000 - state.now;
    online(state.online);
    draw();
  };
  events.onerror = () => online(false);
  setInterval(() => state && draw(), 500); // the seconds that are left
}

async function post(path, values) {
  try {
    const answer = await fetch(path, {
      method: "POST", body: new URLSearchParams(values), headers: {"X-Requested-With": "tickets"},
    });
    if (answer.ok) return await answer.json();
  } catch { /* said below */ }
  element("online").textContent = "that did not work, please try again";
  element("online").className = "no";
  return null;
}

function list(parent, texts, marked) {
  if (parent.dataset.shown === JSON.stringify([texts, marked])) return;
  parent.dataset.shown = JSON.stringify([texts, marked]);
  parent.replaceChildren(...texts.map((text, place) => {
    const item = document.createElement("li");
    item.textContent = text;
    item.classList.toggle("own", place === marked);
    return item;
  }));
}
