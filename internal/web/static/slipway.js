// What pages can do more with a script: a theme, dialogs, commands, keys, copied
// commands, and a connection that is seen to be lost and heals. All of it is there
// without: as links, forms and text.
"use strict";
(() => {
  const root = document.documentElement;
  const main = document.getElementById("main");
  const dialog = document.getElementById("dialog");
  const find = (selector) => document.querySelector(selector);
  const show = (id, on) => { const e = document.getElementById(id); if (e && e.hidden === on) e.hidden = !on; };

  // Theme: the system's, or the one that was chosen; theme.js sets it before anything is painted.
  const themes = ["system", "light", "dark"];
  const themeButton = document.getElementById("theme");
  const chosen = () => root.dataset.theme ?? "system";
  const nameTheme = () => {
    const now = chosen(), next = themes[(themes.indexOf(now) + 1) % themes.length];
    themeButton.dataset.now = now;
    themeButton.title = `Theme: ${now}. Change to ${next}`;
    themeButton.setAttribute("aria-label", themeButton.title);
  };
  const setTheme = (theme) => {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    try {
      if (theme === "system") localStorage.removeItem("slipway.theme");
      else localStorage.setItem("slipway.theme", theme);
    } catch { /* not kept: chosen for this page only */ }
    nameTheme();
  };
  nameTheme();
  themeButton.hidden = false;
  themeButton.addEventListener("click", () => setTheme(themes[(themes.indexOf(chosen()) + 1) % themes.length]));
  addEventListener("storage", (e) => { if (e.key === "slipway.theme") setTheme(themes.includes(e.newValue) ? e.newValue : "system"); });

  // Only what is renewed asks for a stream; hx-sse would have every request ask for one.
  // And what a person opened stays open when the page is renewed.
  htmx.registerExtension("slipway", {
    htmx_config_request: (element, { ctx }) => { if (!element.hasAttribute("hx-sse:connect")) ctx.request.headers.Accept = "text/html"; },
    htmx_before_morph_attr: (element, { attrName }) => !(attrName === "open" && (element.localName === "details" || element.localName === "dialog")),
  });

  // The stream. The server says at least once a second that it lives; hx-sse connects
  // again when a connection ends, and this when the first fails or one falls silent.
  const QUIET = 6, DEAF = 20; // half seconds without a sign of life: said so, connected anew
  const live = main.hasAttribute("hx-sse:connect");
  let quiet = 0, over = false, asking = false, lastLife = Date.now(), connection = null;
  const clock = (ms) => `${new Date(ms + Number(root.dataset.offset) * 1000).toISOString().slice(11, 19)} ${root.dataset.zone}`;
  const alive = () => {
    quiet = 0;
    lastLife = Date.now();
    show("lost", false);
  };
  const lose = () => {
    const at = document.getElementById("lost-at");
    if (!document.getElementById("lost").hidden) return;
    at.textContent = clock(lastLife);
    at.dateTime = new Date(lastLife).toISOString();
    show("lost", true);
  };
  const connect = () => {
    if (over || asking || main._htmx?.sse) return;
    htmx.ajax("GET", main.getAttribute("hx-sse:connect"), { source: main, timeout: 5000 });
  };
  if (live) {
    main.addEventListener("htmx:sse:after:connection", (e) => { if (e.target === main) connection = e.detail.connection; });
    main.addEventListener("htmx:sse:before:message", (e) => {
      alive();
      const { event, data } = e.detail.message;
      if (event === "build" && data !== root.dataset.build) show("renewed", true);
      if (event === "gone") {
        over = true;
        show("gone", true);
      }
      if (event === "trouble") document.getElementById("trouble-why").textContent = data;
      if (event !== "build") show("trouble", event === "trouble");
    });
    main.addEventListener("htmx:before:request", (e) => { if (e.target === main) asking = true; });
    main.addEventListener("htmx:finally:request", (e) => { if (e.target === main) asking = false; });
    // Whatever else answers at the address of the page is not the page.
    main.addEventListener("htmx:before:response", (e) => {
      const { sourceElement, response } = e.detail.ctx;
      if (sourceElement === main && !response.raw.headers.get("Content-Type")?.includes("text/event-stream")) e.preventDefault();
    });
    // A hidden page is not renewed, so its time does not count: the timer of a page that
    // was asleep ticks once, and not for all that it slept.
    setInterval(() => {
      if (document.hidden || over) {
        quiet = 0;
        return;
      }
      quiet++;
      if (quiet >= QUIET) lose();
      if (quiet % QUIET === 0) connect();
      if (quiet % DEAF === 0) connection?.reader?.cancel();
    }, 500);
  }

  // Dialogs: a link with data-dialog opens what it leads to over the page. What is a whole
  // page, such as the one to sign in, is gone to.
  let wanted = false; // what was asked for last: not once the dialog was closed before it came
  const open = (href) => {
    wanted = true;
    dialog.classList.toggle("is-commands", href.startsWith("/commands"));
    htmx.ajax("GET", href, { source: dialog, target: dialog, swap: "innerHTML settle:0ms" });
  };
  const close = () => {
    wanted = false;
    if (dialog.open) dialog.close();
  };
  dialog.addEventListener("cancel", () => { wanted = false; });
  dialog.addEventListener("keydown", (e) => { if (e.key === "Escape") wanted = false; }); // not each browser tells of a cancel
  dialog.addEventListener("htmx:before:swap", (e) => {
    const { ctx } = e.detail;
    if (ctx.sourceElement !== dialog || !/^\s*<!doctype/i.test(ctx.text)) return;
    e.preventDefault();
    location.assign(ctx.request.action);
  });
  dialog.addEventListener("htmx:after:swap", (e) => {
    if (e.detail.ctx.sourceElement !== dialog || !wanted) return;
    const title = dialog.querySelector("h1, h2");
    if (title) {
      title.id ||= "dialog-title";
      title.tabIndex = -1;
    }
    if (title) dialog.setAttribute("aria-labelledby", title.id);
    else dialog.removeAttribute("aria-labelledby");
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    (dialog.querySelector("[autofocus]") ?? title ?? dialog).focus();
    choose(0);
  });
  dialog.addEventListener("htmx:error", (e) => {
    if (e.detail.ctx?.sourceElement === dialog) location.assign(e.detail.ctx.request.action);
  });
  dialog.addEventListener("close", () => { if (!dialog.open) dialog.replaceChildren(); }); // told a moment later: it may be open again
  dialog.addEventListener("mousedown", (e) => { if (e.target === dialog) close(); });

  // Commands: a field and the list of what it finds, which the server writes.
  const choices = () => [...dialog.querySelectorAll("[role=option]")];
  const choose = (n) => {
    const all = choices(), field = dialog.querySelector("[role=combobox]");
    if (!field) return;
    all.forEach((choice, i) => choice.setAttribute("aria-selected", String(i === n)));
    if (!all[n]) {
      field.removeAttribute("aria-activedescendant");
      return;
    }
    field.setAttribute("aria-activedescendant", all[n].id);
    all[n].scrollIntoView({ block: "nearest" });
  };
  const take = (choice) => {
    if (choice.getAttribute("aria-disabled") === "true") return;
    const { href } = choice.dataset;
    if ("theme" in choice.dataset) {
      close();
      setTheme(choice.dataset.theme);
    } else if ("dialog" in choice.dataset) open(href);
    else location.assign(href);
  };
  // Asked once the typing pauses, and not any more when the field is gone by then.
  let typing = 0;
  dialog.addEventListener("input", ({ target: field }) => {
    if (field.getAttribute("role") !== "combobox") return;
    clearTimeout(typing);
    typing = setTimeout(() => { if (field.isConnected) htmx.trigger(field, "typed"); }, 60);
  });
  dialog.addEventListener("htmx:after:settle", (e) => { if (e.target.id === "choices") choose(0); });
  dialog.addEventListener("click", (e) => {
    const choice = e.target.closest("[role=option]");
    if (choice) take(choice);
    else if (e.target.closest("[data-close]")) close();
  });
  dialog.addEventListener("keydown", (e) => {
    if (e.target.getAttribute("role") !== "combobox") return;
    const all = choices(), at = all.findIndex((choice) => choice.getAttribute("aria-selected") === "true");
    const to = { ArrowDown: (at + 1) % all.length, ArrowUp: (at - 1 + all.length) % all.length, PageDown: Math.min(at + 5, all.length - 1), PageUp: Math.max(at - 5, 0) }[e.key];
    if (to !== undefined && all.length) choose(to);
    else if (e.key === "Enter" && all[at]) take(all[at]);
    else if (e.key !== "Enter") return;
    e.preventDefault();
  });

  document.addEventListener("click", (e) => {
    const copy = e.target.closest("[data-copy]");
    if (copy) {
      navigator.clipboard?.writeText(copy.dataset.copy).then(() => {
        copy.dataset.done = "";
        setTimeout(() => delete copy.dataset.done, 1200);
      });
      return;
    }
    const off = e.target.closest("[aria-disabled=true]");
    if (off) e.preventDefault();
    for (const menu of document.querySelectorAll("details.who[open]")) if (!menu.contains(e.target)) menu.open = false;
    const link = e.target.closest("a[data-dialog], a[data-commands]");
    if (off || !link || e.button || e.ctrlKey || e.metaKey || e.shiftKey || e.altKey) return;
    e.preventDefault();
    open(link.getAttribute("href"));
  });

  // A form that asks for more before an action stays in the dialog that it was opened in.
  dialog.addEventListener("submit", (e) => {
    const form = e.target;
    if (!form.hasAttribute("data-dialog")) return;
    e.preventDefault();
    open(`${form.getAttribute("action")}?${new URLSearchParams(new FormData(form, e.submitter))}`);
  });

  const follow = (link) => {
    const href = link?.getAttribute("href");
    if (href && link.hasAttribute("data-dialog")) open(href);
    else if (href) location.assign(href);
  };

  // Keys. None while something is typed; those with a letter only while no dialog is open.
  const rows = () => [...main.querySelectorAll("table.list > tbody > tr, [data-row]")].filter((row) => !row.closest("details:not([open])") && row.querySelector("a[href]"));
  const step = (by) => {
    const all = rows(), at = all.findIndex((row) => row.contains(document.activeElement));
    const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1)];
    const link = next?.querySelector("a[href]");
    link?.focus({ preventScroll: true });
    link?.scrollIntoView({ block: "nearest" });
  };
  // The way back of the row that has the focus; else the page's own, which no row of a
  // list of many services has.
  const wayBack = () => {
    const selector = "[data-key=r]:not([aria-disabled=true])";
    const row = rows().find((row) => row.contains(document.activeElement));
    return row?.querySelector(selector) ?? [...main.querySelectorAll(selector)].find((link) => !link.closest("table"));
  };
  const keys = {
    "/": () => { const field = find("#main [data-filter], #main .filter input:not([type=hidden]), #main input[type=search]"); field?.focus(); field?.select?.(); },
    "?": () => follow(find("a[data-keys]")),
    j: () => step(1),
    k: () => step(-1),
    r: () => follow(wayBack()),
    g: (e) => { chord = e.timeStamp; },
  };
  let chord = null; // when the first of two keys was pressed, by the keyboard and not by how busy the page was since
  document.addEventListener("keydown", (e) => {
    if ((e.ctrlKey || e.metaKey) && !e.altKey && !e.shiftKey && e.key.toLowerCase() === "k") {
      const commands = find("a[data-commands]");
      if (!commands) return;
      e.preventDefault();
      if (dialog.open && dialog.classList.contains("is-commands")) close();
      else open(commands.getAttribute("href"));
      return;
    }
    if (e.key === "Escape") for (const menu of document.querySelectorAll("details.who[open]")) menu.open = false;
    if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing || e.target.closest?.("input, textarea, select, [contenteditable]")) return;
    if (dialog.open) {
      if (e.key === "?" && dialog.querySelector(".shortcuts")) close();
      return;
    }
    const second = chord !== null && e.timeStamp - chord < 1500;
    chord = null;
    if (second) {
      const link = find(`a[data-go="${CSS.escape(e.key)}"]`);
      if (!link) return;
      e.preventDefault();
      follow(link);
      return;
    }
    if (!Object.hasOwn(keys, e.key)) return;
    e.preventDefault();
    keys[e.key](e);
  });
})();
