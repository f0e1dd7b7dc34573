// What every page does: times, copying, dialogs, Airflow's own pages, answers to htmx.
"use strict";

(function () {
  const MINUTE = 60, HOUR = 3600, DAY = 86400;
  const CSRF_LIFE = 30 * 60 * 1000; // a token lives for an hour

  // --- Times: in the zone that the user chose in Airflow, with their age ---

  function zone() {
    try {
      const chosen = localStorage.getItem("timezone"); // Airflow keeps it as JSON
      if (chosen) return chosen.replace(/^"|"$/g, "");
    } catch {
      // No storage: then UTC, which is Airflow's default too.
    }
    return "UTC";
  }

  function formatter() {
    const parts = { dateStyle: "short", timeStyle: "medium" };
    try {
      return new Intl.DateTimeFormat("sv-SE", { ...parts, timeZone: zone() }); // 2026-11-24 03:34:02
    } catch {
      return new Intl.DateTimeFormat("sv-SE", { ...parts, timeZone: "UTC" });
    }
  }

  function age(then) {
    const seconds = (Date.now() - then) / 1000, distance = Math.abs(seconds);
    if (distance < 10) return "now";
    const [count, unit] =
      distance < MINUTE ? [distance, "s"]
      : distance < HOUR ? [distance / MINUTE, "min"]
      : distance < DAY ? [distance / HOUR, "h"]
      : [distance / DAY, distance < 2 * DAY ? "day" : "days"];
    const text = `${Math.floor(count)} ${unit}`;
    return seconds < 0 ? `in ${text}` : `${text} ago`;
  }

  function muted(text) {
    const element = document.createElement("span");
    element.className = "age";
    element.textContent = text;
    return element;
  }

  // <input data-zone>: tells the server how to read the dates and times beside it
  function nameZone(within) {
    for (const input of within.querySelectorAll("input[data-zone]")) input.value ||= zone();
    for (const element of within.querySelectorAll("[data-zone-name]")) element.textContent = zone();
  }

  function showTimes(within) {
    const format = formatter(), name = zone();
    for (const element of within.querySelectorAll("time[data-relative]")) {
      const then = new Date(element.dateTime);
      if (Number.isNaN(then.getTime())) continue;
      const full = format.format(then);
      const { relative } = element.dataset;
      if (relative === "both") element.replaceChildren(full, muted(age(then)));
      else element.textContent = relative === "full" ? `${full} (${age(then)})` : age(then);
      element.title = `${full} ${name}`;
    }
  }

  // --- Copying ---

  async function copy(text) {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea"); // over plain http there is no clipboard
    area.value = text;
    area.className = "visually-hidden";
    (document.querySelector("dialog[open]") || document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("refused");
  }

  async function copyFrom(button) {
    const source = button.dataset.copyFrom && document.querySelector(button.dataset.copyFrom);
    const label = button.getAttribute("aria-label");
    try {
      await copy(source ? source.value || source.textContent : button.dataset.copy);
    } catch {
      button.title = "The browser refused to copy; select the text and press Ctrl+C.";
      return;
    }
    button.classList.add("copied", "was-copied");
    if (label) button.setAttribute("aria-label", "Copied");
    button.focus();
    setTimeout(() => {
      button.classList.remove("copied");
      if (label) button.setAttribute("aria-label", label);
    }, 2000);
  }

  // --- Airflow's own pages: our frame may not leave itself, so the document around it follows the link ---

  function follow(path, elsewhere) {
    const outer = window.parent.document;
    const root = window.parent === window ? `${window.location.pathname.split("/pluginsv2/")[0]}/` : "";
    const anchor = outer.createElement("a");
    anchor.href = new URL(root + path, outer.baseURI).href;
    if (elsewhere) anchor.target = "_blank";
    outer.body.append(anchor);
    anchor.click();
    anchor.remove();
  }

  // Aside: in a new tab, because there is something on this page that signing in would lose.
  function signIn(path, aside) {
    const here = window.parent === window ? window.location : window.parent.location;
    follow(`${path}?next=${encodeURIComponent(here.href)}`, aside);
  }

  // --- Clicks ---

  function openDialog(button) {
    // A menu closes, and what is in it can't take the focus back when the dialog closes.
    button.closest("details.menu")?.querySelector("summary").focus();
    document.getElementById(button.dataset.dialog)?.showModal();
  }

  function onClick(event) {
    const on = (selector) => event.target.closest(selector);
    let found;
    if ((found = on("[data-copy], [data-copy-from]"))) copyFrom(found);
    else if ((found = on("button[data-dialog]"))) openDialog(found);
    else if ((found = on("[data-dialog-close]"))) found.closest("dialog").close();
    else if ((found = on("[data-dismiss]"))) found.closest(".alert").remove();
    else if (on("[data-reload]")) window.location.reload();
    else if ((found = on("a[data-sign-in]"))) {
      event.preventDefault();
      signIn(found.getAttribute("href").slice(1), found.dataset.signIn === "aside");
    }
    else if ((found = on("a[data-airflow]"))) {
      event.preventDefault();
      follow(found.getAttribute("href").slice(1), event.ctrlKey || event.metaKey || event.button === 1);
    } else if (window.parent !== window && (found = on("body.embedded a[href^='/']"))) {
      // From a tab of a DAG or a run, our other pages open where they have room.
      event.preventDefault();
      follow(`plugin/incoming${found.getAttribute("href")}`, event.ctrlKey || event.metaKey);
    }
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target) || on(".menu-items")) menu.open = false;
    }
  }

  // A key is shown once: its dialog is left on purpose, by its own button, or once the key was copied.
  function mustStay(dialog) {
    return Boolean(dialog?.querySelector("[data-secret]:not(:has(.was-copied))"));
  }

  function onKey(event) {
    if (event.key !== "Escape") return;
    if (mustStay(document.querySelector("dialog[open]"))) event.preventDefault();
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  }

  // --- CSRF tokens ---

  let renewed = Date.now();

  async function renewToken(atOnce) {
    if (!atOnce && Date.now() - renewed < CSRF_LIFE) return;
    renewed = Date.now();
    const answer = await fetch(document.body.dataset.csrfUrl, { headers: { Accept: "application/json" } });
    if (!answer.ok) {
      renewed = 0; // signed out, which the next change says; signed in again, it takes a new token
      return;
    }
    const { csrf_token: token } = await answer.json();
    document.body.setAttribute("hx-headers", JSON.stringify({ "X-CSRFToken": token }));
    for (const input of document.querySelectorAll('input[name="csrf_token"]')) input.value = token;
  }

  // --- Answers to htmx: a problem goes to the messages, a form with its errors where it belongs ---

  const messages = () => document.getElementById("messages");

  function reveal() {
    const open = document.querySelector("dialog[open] .dialog-body");
    if (!open) return messages().scrollIntoView({ block: "nearest" });
    for (const old of open.querySelectorAll("[data-problem]")) old.remove();
    open.prepend(...messages().childNodes); // else it lies behind the dialog
  }

  // Somebody did something; a fragment that looks again by itself has no such event.
  const asked = (event) => Boolean(event.detail.requestConfig?.triggeringEvent);
  const changes = (event) => event.detail.requestConfig?.verb !== "get";

  function showTrouble(event) {
    messages().replaceChildren(document.getElementById("trouble").content.cloneNode(true));
    if (asked(event)) reveal();
  }

  function beforeSwap(event) {
    const { xhr } = event.detail;
    if (xhr.status < 400) return;
    if (xhr.responseText.trimStart().startsWith("<div data-problem")) {
      event.detail.target = messages();
      event.detail.swapOverride = "innerHTML";
      event.detail.selectOverride = "unset";
      if (asked(event)) setTimeout(reveal, 50);
      if (xhr.responseText.includes("data-again")) renewToken(true).catch(() => {});
    } else if (xhr.status >= 500 || /<html/i.test(xhr.responseText)) {
      event.detail.shouldSwap = false; // not an answer of ours
      showTrouble(event);
    }
  }

  // --- Where the person was: the focus, and how far a list was scrolled ---

  let scrolled = [];
  let wasInside = false;

  function rememberPlace(event) {
    const { target } = event.detail;
    scrolled = [...target.querySelectorAll("[data-keep-scroll]")].map((list) => [list.id, list.scrollTop]);
    wasInside = target.contains(document.activeElement);
  }

  const MISTAKE = '[aria-invalid="true"], .field-error[tabindex]';

  function restoreScroll() {
    for (const [id, top] of scrolled) {
      const list = document.getElementById(id);
      if (!list) continue;
      list.scrollTop = top;
      list.querySelector(".field-error")?.scrollIntoView({ block: "nearest" });
    }
  }

  function restoreFocus(event) {
    const { target, xhr } = event.detail;
    const swapped = document.getElementById(target.id) || target;
    // What is wrong comes first; else htmx has put the focus back on what has an id, or on [autofocus].
    if (xhr.status === 422 && swapped.isConnected) swapped.querySelector(MISTAKE)?.focus();
    if (!wasInside || document.activeElement !== document.body || !swapped.isConnected) return;
    swapped.setAttribute("tabindex", "-1");
    swapped.focus({ preventScroll: true });
  }

  // <dialog data-reload-on-close="selector">: what the page lists has changed once the dialog holds that
  function onClose(event) {
    const shown = event.target.dataset?.reloadOnClose;
    if (shown && event.target.querySelector(shown)) window.location.reload();
  }

  // A notice is said once: neither a reload nor a shared address repeats it.
  function forgetNotice() {
    const address = new URL(window.location.href);
    if (!address.searchParams.has("notice")) return;
    address.searchParams.delete("notice");
    window.history.replaceState(window.history.state, "", address);
  }

  function prepare(within) {
    showTimes(within);
    nameZone(within);
    for (const dialog of within.querySelectorAll("dialog[data-open]")) {
      dialog.removeAttribute("data-open");
      if (!dialog.open) dialog.showModal();
    }
  }

  document.addEventListener("click", onClick);
  document.addEventListener("auxclick", (event) => event.button === 1 && onClick(event));
  document.addEventListener("keydown", onKey);
  document.addEventListener("close", onClose, true); // it doesn't bubble
  document.addEventListener("cancel", (event) => mustStay(event.target) && event.preventDefault(), true);
  document.addEventListener("htmx:beforeSwap", beforeSwap);
  document.addEventListener("htmx:beforeSwap", rememberPlace);
  document.addEventListener("htmx:afterSwap", restoreScroll);
  document.addEventListener("htmx:afterSettle", restoreFocus);
  document.addEventListener("htmx:sendError", showTrouble);
  document.addEventListener("htmx:beforeRequest", (event) => changes(event) && messages().replaceChildren());
  document.addEventListener("htmx:load", (event) => prepare(event.detail.elt.parentNode || document));
  window.addEventListener("storage", () => showTimes(document));
  document.addEventListener("visibilitychange", () => document.hidden || renewToken().catch(() => {}));
  setInterval(() => {
    showTimes(document);
    renewToken().catch(() => {});
  }, MINUTE * 1000);
  forgetNotice();
  prepare(document);
})();
