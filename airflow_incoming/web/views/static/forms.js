// What forms do: filters that apply themselves, names made from titles, confirmation, unsaved changes.
"use strict";

(function () {
  // A name as integrations and keys have it: [a-z0-9][a-z0-9_-]{0,62}
  function nameFrom(title) {
    return title
      .normalize("NFKD")
      .replace(/[\u0300-\u036f]/g, "")
      .toLowerCase()
      .replace(/[^a-z0-9_]+/g, "-")
      .replace(/^[-_]+/, "")
      .slice(0, 63)
      .replace(/-+$/, "");
  }

  // <input data-name-from="id of the title">: follows the title until somebody edits it
  function onInput(event) {
    const input = event.target;
    if (input.dataset.nameFrom) input.dataset.edited = input.value ? "yes" : "";
    for (const name of document.querySelectorAll("[data-name-from]")) {
      if (name.dataset.nameFrom === input.id && !name.dataset.edited) name.value = nameFrom(input.value);
    }
    const form = input.closest("form[data-confirm]");
    if (form) checkConfirmation(form);
  }

  // <form data-confirm="orders">: its submit button works once "orders" is typed into [data-confirm-input]
  function checkConfirmation(form) {
    const typed = form.querySelector("[data-confirm-input]").value;
    form.querySelector('[type="submit"]').disabled = typed !== form.dataset.confirm;
  }

  // <form data-autosubmit>: choices apply when they are made, texts on Enter or when they are cleared
  function onChange(event) {
    const form = event.target.closest("form[data-autosubmit]");
    if (form && event.target.matches("select, [type=checkbox], [type=radio]")) form.requestSubmit();
  }

  function onSearch(event) {
    const form = event.target.closest("form[data-autosubmit]");
    if (form && !event.target.value) form.requestSubmit(); // the cross inside the field was clicked
  }

  // --- <form data-unsaved-guard>: asks before a link leaves what isn't saved ---

  const clean = new WeakMap();
  let leaving = false;
  let destination = null;

  // Fields that help the form and say nothing about the integration; opening a section adds some.
  const HELPERS = /^(csrf_token|expected|action|chosen|before\..*|.*_typed)$/;

  function contents(form) {
    const texts = [...new FormData(form)].map(([name, value]) => [name, value.name ?? value]); // a file's name
    const kept = texts.filter(([name, value]) => value.trim() && !HELPERS.test(name));
    return JSON.stringify(kept.map(([name, value]) => `${name}=${value.trim()}`.replace(/\r/g, "")).sort());
  }

  function unsaved() {
    if (leaving) return false;
    const forms = [...document.querySelectorAll("form[data-unsaved-guard]")];
    return forms.some((form) => form.hasAttribute("data-unsaved") || contents(form) !== clean.get(form));
  }

  // Airflow's frame forbids the browser's own question, so links ask by a dialog of ours.
  function onLink(event) {
    const link = event.target.closest('a[href]:not([data-sign-in="aside"])');
    const goes = link && !link.getAttribute("href").startsWith("#") && !link.hasAttribute("download");
    if (!goes || event.ctrlKey || event.metaKey || event.button !== 0 || !unsaved()) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    destination = link;
    document.getElementById("leave-unsaved").showModal();
  }

  // Forms whose answer is another page, such as those of a menu.
  function onSubmit(event) {
    if (!event.target.matches('form[hx-swap="none"]') || !unsaved()) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    destination = event.submitter;
    document.getElementById("leave-unsaved").showModal();
  }

  function onLeave(event) {
    if (!event.target.closest("[data-leave]")) return;
    leaving = true;
    document.getElementById("leave-unsaved").close();
    destination?.click();
  }

  function remember(within) {
    for (const form of within.querySelectorAll("form[data-unsaved-guard]")) {
      if (!clean.has(form)) clean.set(form, contents(form));
    }
    for (const form of within.querySelectorAll("form[data-confirm]")) checkConfirmation(form);
  }

  document.addEventListener("input", onInput);
  document.addEventListener("change", onChange);
  document.addEventListener("search", onSearch);
  document.addEventListener("click", onLink, true);
  document.addEventListener("click", onLeave);
  document.addEventListener("submit", onSubmit, true);
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    if (event.detail.xhr.getResponseHeader("HX-Redirect")) leaving = true;
  });
  document.addEventListener("htmx:responseError", () => { leaving = false; });
  document.addEventListener("htmx:load", (event) => remember(event.detail.elt.parentNode || document));
  window.addEventListener("beforeunload", (event) => unsaved() && event.preventDefault());
  remember(document);
})();
