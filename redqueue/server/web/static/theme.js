// Loaded before anything is painted, so that a chosen theme does not flash in the other one.
(function () {
  let chosen = "";
  try {
    chosen = localStorage.getItem("redqueue-theme") || "";
  } catch {
    // a browser that keeps nothing follows the system
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
