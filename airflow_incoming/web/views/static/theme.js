// Light or dark as Airflow's switch says. Loaded in <head>, so that no page flashes in the wrong mode.
(function () {
  "use strict";
  var root = document.documentElement;
  var outer = null;
  try {
    if (window.parent !== window) outer = window.parent.document.documentElement;
  } catch {
    // A frame of another origin: then what is stored decides.
  }

  function stored() {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null;
    }
  }

  function chosen() {
    if (outer && outer.classList.contains("dark")) return "dark";
    if (outer && outer.classList.contains("light")) return "light";
    return stored();
  }

  function apply() {
    var mode = chosen();
    root.classList.toggle("dark", mode === "dark");
    root.classList.toggle("light", mode === "light"); // neither: the system's preference holds
  }

  apply();
  if (outer) new MutationObserver(apply).observe(outer, { attributes: true, attributeFilter: ["class"] });
  window.addEventListener("storage", apply);
})();
