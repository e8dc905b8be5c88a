"use strict";
let own = JSON.parse(sessionStorage.getItem("ticket"));

function say(what, more, mood) {
  element("what").textContent = what;
  element("more").textContent = more;
  element("own").className = `card ${mood}`;
}

function drawOwn() {
  element("take").hidden = Boolean(own);
  element("ticket").hidden = !own;
  const length = state.waiting.length;
  element("length").textContent = length === 1 ? "One visitor is waiting." : `${length || "No"} visitors are waiting.`;
  if (!own) return say("", "", "");
  element("number").textContent = own.number;
  const place = state.waiting.findIndex((ticket) => ticket.number === own.number);
  const at = state.desks.findIndex((desk) => desk.ticket && desk.ticket.number === own.number);
  const called = at >= 0 && state.desks[at].doing === "calling";
  element("come").hidden = !called;
  element("again").hidden = place >= 0 || at >= 0;
  if (place === 0) say("You are next", "Please stay close by.", "soon");
  else if (place > 0) say(`${place} ahead of you`, `Before you: ${state.waiting.slice(Math.max(0, place - 3), place).map(named).join(", ")}`, "");
  else if (called) say(`Please come to desk ${at + 1}`, `${secondsLeft(state.desks[at])} seconds left, then it is the next one's turn.`, "called");
  else if (at >= 0) say(`You are at desk ${at + 1}`, "Good to see you.", "served");
  else if (state.missed.includes(own.number)) say("You have lost your turn", "You were called and did not come in time.", "missed");
  else say("Goodbye", "This ticket is used, or was good for another day.", "");
}

function draw() {
  drawOwn();
  list(element("desks"), state.desks.map((desk, at) => `Desk ${at + 1}: ${desk.ticket ? named(desk.ticket) : desk.doing ? "free" : "closed"}`),
    state.desks.findIndex((desk) => own && desk.ticket && desk.ticket.number === own.number));
  list(element("waiting"), state.waiting.map(named), state.waiting.findIndex((ticket) => own && ticket.number === own.number));
  element("count").textContent = state.waiting.length;
}

function keep(ticket) {
  own = ticket;
  sessionStorage.setItem("ticket", JSON.stringify(own));
  if (state) draw();
}

element("take").onsubmit = async (event) => {
  event.preventDefault();
  const button = event.target.querySelector("button");
  button.disabled = true; // a second click is no second ticket
  const ticket = await post("/tickets", new FormData(event.target));
  button.disabled = false;
  if (ticket) keep(ticket);
};
element("come").onclick = () => post("/come", {secret: own.secret});
element("again").onclick = () => keep(null);
live(draw);
