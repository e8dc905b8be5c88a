"use strict";
function card(at) {
  const section = document.createElement("section");
  section.innerHTML = "<h2></h2><p class=number></p><p class=what></p><button class=next></button><button class=close>Close</button>";
  section.querySelector("h2").textContent = `Desk ${at + 1}`;
  section.querySelector(".next").onclick = () => post(`/desks/${at}/next`, {});
  section.querySelector(".close").onclick = () => post(`/desks/${at}/close`, {});
  element("all").append(section);
  return section;
}

function draw() {
  while (element("all").children.length < state.desks.length) card(element("all").children.length);
  state.desks.forEach((desk, at) => {
    const section = element("all").children[at];
    section.className = `card ${desk.doing === "serving" ? "served" : desk.doing && desk.ticket ? "called" : ""}`;
    section.querySelector(".number").textContent = desk.ticket ? named(desk.ticket) : "–";
    section.querySelector(".what").textContent =
      desk.doing === "serving" ? "is here" : !desk.doing ? "closed" : !desk.ticket ? "waits for a visitor"
        : `is called, ${secondsLeft(desk)} seconds left`;
    section.querySelector(".next").textContent = desk.doing ? "Next visitor" : "Open";
    section.querySelector(".next").disabled = desk.doing === "calling";
    section.querySelector(".close").hidden = !desk.doing;
  });
  document.title = `Desks · ${state.waiting.length} waiting`;
}
live(draw);
