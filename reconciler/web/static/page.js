// Keeps the page up to date. Everything that comes from the host is inserted as text, never as markup.
"use strict";
(() => {
  const one = document.getElementById("one");
  const table = document.querySelector("#apps tbody");
  const app = one ? one.dataset.app : null;
  const service = document.getElementById("service");
  const origin = document.getElementById("origin");
  const query = new URLSearchParams(location.search);
  const search = document.getElementById("q");
  const base = document.body.dataset.base;

  const put = (element, text) => { if (element && element.textContent !== text) element.textContent = text; };

  const update = (root, row) => {
    for (const cell of root.querySelectorAll("[data-cell]")) {
      const text = row.cells[cell.dataset.cell];
      if (text !== undefined) put(cell, String(text));
    }
    for (const state of root.querySelectorAll("[data-state]")) {
      state.className = "state s-" + row.state;
      state.querySelector("use").setAttribute("href", "#m-" + row.mark);
    }
    for (const link of root.querySelectorAll("[data-url]")) {
      if (row.url && /^https?:\/\//.test(row.url)) link.setAttribute("href", row.url); else link.removeAttribute("href");
      link.title = row.hint;
    }
    put(root.querySelector("[data-hint]"), row.hint);
    for (const name of ["cpu", "memory"]) {
      const line = name + "_line";
      let spark = root.querySelector('[data-spark="' + line + '"]');
      if (!spark && row[line]) {
        spark = document.getElementById("spark").content.firstElementChild.cloneNode(true);
        spark.dataset.spark = line;
        root.querySelector('[data-cell="' + name + '"]').after(spark);
      }
      if (spark) spark.firstElementChild.setAttribute("points", row[line]);
    }
    for (const time of root.querySelectorAll("time[data-until]")) time.dataset.until = row.next || "";
  };

  const rows = new Map();
  if (table) for (const row of table.rows) rows.set(row.dataset.app, row);

  // Apps in trouble come first, the others by name, as the host sorts them.
  const place = (name, row, rank) => {
    if (row.isConnected && row.dataset.rank === String(rank)) return;
    row.dataset.rank = rank;
    const before = (one, other) => one[0] - other[0] || (one[1] < other[1] ? -1 : 1);
    const after = [...rows].filter(([known]) => known !== name).map(([known, at]) => [Number(at.dataset.rank), known, at])
      .filter((known) => before([rank, name], known) < 0).sort(before)[0];
    table.insertBefore(row, after === undefined ? null : after[2]);
  };

  const add = (name, page) => {
    const row = document.getElementById("row").content.firstElementChild.cloneNode(true);
    row.dataset.app = name;
    const link = row.querySelector("[data-name]");
    link.setAttribute("href", base + page);
    put(link.querySelector("bdi"), name);
    rows.set(name, row);
    return row;
  };

  const filter = () => {
    const words = search ? search.value.trim().toLowerCase() : "";
    for (const [name, row] of rows) {
      row.hidden = words !== "" && !(name + " " + row.querySelector('[data-cell="message"]').textContent).toLowerCase().includes(words);
    }
  };

  const show = (data) => {
    put(document.getElementById("daemon"), data.daemon.running
      ? "daemon " + data.daemon.pid + (data.daemon.up ? ", up " + data.daemon.up : "")
      : "no daemon is running: the apps are not supervised");
    const notice = document.getElementById("notice");
    notice.hidden = !data.notice;
    put(notice.firstElementChild, data.notice);
    if (one) {
      if (data.rows[app]) update(one, data.rows[app]);
      return;
    }
    if (!table || query.has("state") || query.has("q")) {
      for (const [name, row] of Object.entries(data.rows)) if (rows.has(name)) update(rows.get(name), row);
      if (document.getElementById("apps") && !table && Object.keys(data.rows).length && !query.toString()) location.reload();
      return;
    }
    for (const [name, row] of Object.entries(data.rows)) {
      const shown = rows.get(name) || add(name, row.page);
      update(shown, row);
      if (!query.has("sort")) place(name, shown, row.rank); else if (!shown.isConnected) table.append(shown);
    }
    for (const name of data.removed) if (rows.has(name)) { rows.get(name).remove(); rows.delete(name); }
    put(document.querySelector("[data-all]"), String(rows.size));
    for (const link of document.querySelectorAll("[data-count]")) {
      const number = data.counts[link.dataset.count] || 0;
      put(link.querySelector("b"), String(number));
      link.hidden = number === 0;
    }
    if (search && search.value) filter();
  };

  // Parts that only the host can render are fetched again and replaced as a whole.
  const refetch = async (from, ...ids) => {
    const answer = await fetch(from, { credentials: "same-origin" });
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ids) {
      const fresh = page.getElementById(id), old = document.getElementById(id);
      if (fresh && old) {
        for (const unfolded of old.querySelectorAll("details[open]")) {
          const same = fresh.querySelector('details[data-group="' + CSS.escape(unfolded.dataset.group) + '"]');
          if (same) same.open = true;
        }
        const from = old.dataset.from;
        old.replaceWith(document.adoptNode(fresh));
        if (from) document.getElementById(id).dataset.from = from;
      }
    }
  };
  let timer = null;
  const refresh = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (one) refetch(location.href, "actions", "remedy", "timeline", "releases", "workers", "processes", "manifest", "events").then(plan);
      else if (service) refetch(location.href, "standing", "facts", "backups", "manifest", "events");
      else if (origin) refetch(location.href, "standing", "facts", "events");
      else if (document.getElementById("origins")) refetch(location.href, "origins");
      else if (document.getElementById("events")) refetch(base + "/events" + (table ? "?show=brief" : location.search), "events");
    }, 700);
  };
  const happened = (kinds) => {
    refresh();
    if (table && ["manifest", "refused", "applied", "recovered"].some((kind) => kinds.includes(kind))) refetch(base + "/?state=invalid", "refused");
  };
  const plan = () => {
    for (const id of ["plan", "checks"]) {
      const section = document.getElementById(id);
      if (section && section.dataset.from) refetch(section.dataset.from, id);
    }
  };

  const countdown = () => {
    for (const time of document.querySelectorAll("time[data-until]")) {
      const left = Number(time.dataset.until) - Date.now() / 1000;
      put(time, time.dataset.until && left > -2 ? "next retry in " + Math.max(0, Math.ceil(left)) + " s" : "");
    }
  };

  const visible = (text) => text.replace(
    /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\u{e0000}-\u{e007f}]/gu,
    (c) => {
      const code = c.codePointAt(0).toString(16);
      if (code.length > 4) return "\\U" + code.padStart(8, "0");
      return code.length < 3 ? "\\x" + code.padStart(2, "0") : "\\u" + code.padStart(4, "0");
    });
  const log = document.getElementById("log");
  const words = log ? (log.dataset.words || "").toLowerCase() : "";
  const shown = (line) => { const isolated = document.createElement("bdi"); isolated.textContent = line; return isolated; };
  const follow = () => {
    let first = true;
    const source = new EventSource(log.dataset.from);
    source.onopen = () => { first = true; };
    source.onmessage = (event) => {
      const low = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
      let lines = JSON.parse(event.data).map(visible);
      if (words) {
        // What the host found stays; the first lines that arrive are mostly the same.
        lines = lines.filter((line) => line.toLowerCase().includes(words));
        if (first && log.lastElementChild) lines = lines.slice(lines.lastIndexOf(log.lastElementChild.textContent) + 1);
      } else if (first) log.textContent = "";
      first = false;
      const fresh = document.createDocumentFragment();
      for (const line of lines) fresh.append(shown(line), "\n");
      log.append(fresh);
      while (log.childNodes.length > 4000) log.firstChild.remove();
      if (log.childNodes.length) document.getElementById("log-empty").hidden = true;
      if (low) log.scrollTop = log.scrollHeight;
    };
    return source;
  };
  let following = log !== null && log.dataset.from !== "";
  const toggle = document.getElementById("follow");
  if (toggle) {
    toggle.hidden = false;
    toggle.addEventListener("click", () => {
      following = !following;
      toggle.setAttribute("aria-pressed", String(following));
      put(toggle, following ? "Following" : "Follow");
      for (const source of open) source.close();
      listen();
    });
  }

  let open = [];
  const listen = () => {
    const only = app ? { app } : service ? { service: service.dataset.service } : {};
    const live = new EventSource(base + "/live?" + new URLSearchParams(only));
    live.onmessage = (event) => show(JSON.parse(event.data));
    live.addEventListener("events", (event) => happened(JSON.parse(event.data)));
    live.onopen = () => document.body.removeAttribute("data-stale");
    live.onerror = () => { document.body.dataset.stale = ""; };
    open = [live];
    if (following) { log.scrollTop = log.scrollHeight; open.push(follow()); }
  };
  if (log) log.scrollTop = log.scrollHeight;
  // A hidden tab costs the host nothing.
  document.addEventListener("visibilitychange", () => {
    for (const source of open) source.close();
    open = [];
    if (!document.hidden) listen();
  });
  // What is typed is kept in the address, and goes along to another order or state.
  const keep = () => {
    filter();
    const words = search.value.trim();
    for (const link of [location, ...document.querySelectorAll("a[data-view]")]) {
      const to = new URL(link.href);
      if (words) to.searchParams.set("q", words); else to.searchParams.delete("q");
      if (link === location) history.replaceState(null, "", to); else link.href = to;
    }
  };
  if (search && (table || document.getElementById("apps"))) search.addEventListener("input", keep);

  const help = document.getElementById("keys");
  if (help) {
    document.getElementById("keys-hint").hidden = false;
    document.getElementById("keys-open").addEventListener("click", () => help.showModal());
  }
  const move = (step) => {
    const links = [...table.rows].filter((row) => !row.hidden).map((row) => row.querySelector("[data-name]"));
    const at = links.indexOf(document.activeElement);
    const next = links[at < 0 ? (step > 0 ? 0 : links.length - 1) : at + step];
    if (next) next.focus();
    return next !== undefined;
  };
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (event.ctrlKey || event.metaKey || event.altKey || (help && help.open)) return;
    const arrow = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (arrow && table && (!typing || event.target === search)) {
      if (move(arrow)) event.preventDefault();
    } else if (!typing && event.key === "/" && search) {
      event.preventDefault();
      search.focus();
      search.select();
    } else if (!typing && event.key === "?" && help) {
      event.preventDefault();
      help.showModal();
    }
  });
  setInterval(countdown, 1000);
  if (document.getElementById("load")) setInterval(() => { if (!document.hidden) refetch(location.href, "load", "workers", "processes"); }, 60000);
  countdown();
  if (!document.hidden) listen();
  plan();
})();
