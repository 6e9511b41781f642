// Keeps the page up to date. Everything that comes from the host is inserted as text, never as markup.
"use strict";
(() => {
  const one = document.getElementById("one");
  const table = document.querySelector("#apps tbody");
  const app = one ? one.dataset.app : null;
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
    for (const spark of root.querySelectorAll("[data-spark]")) {
      spark.firstElementChild.setAttribute("points", row[spark.dataset.spark]);
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
      if (!table && Object.keys(data.rows).length && !query.toString()) location.reload();
      return;
    }
    for (const [name, row] of Object.entries(data.rows)) {
      const shown = rows.get(name) || add(name, row.page);
      update(shown, row);
      place(name, shown, row.rank);
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

  const list = document.getElementById("events");
  const showEvents = (events) => {
    for (const event of events) {
      if (!list) break;
      const item = document.createElement("li");
      item.className = "e-" + event.kind.replace(/[^a-z]/g, "");
      const part = (kind, name, text) => {
        const element = document.createElement(kind);
        if (name) element.className = name;
        const isolated = document.createElement("bdi");
        isolated.textContent = text;
        element.append(isolated);
        return element;
      };
      item.append(part("time", "", event.clock), " ");
      if (!one) {
        const subject = part("span", "subject", event.subject);
        if (event.page) {
          const link = document.createElement("a");
          link.setAttribute("href", base + event.page);
          link.append(...subject.childNodes);
          subject.append(link);
        }
        item.append(subject, " ");
      }
      item.append(part("span", "kind", event.kind), " ");
      const what = part("span", "what", event.text);
      if (event.cause) what.append(" ", part("span", "cause", event.cause));
      item.append(what);
      list.prepend(item);
    }
    while (list && list.children.length > 40) list.lastElementChild.remove();
    if (one) refresh();
    else if (events.some((event) => event.kind === "manifest")) refetch(location.pathname, "refused");
  };

  // Parts that only the host can render are fetched again and replaced as a whole.
  const refetch = async (from, ...ids) => {
    const answer = await fetch(from, { credentials: "same-origin" });
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ids) {
      const fresh = page.getElementById(id), old = document.getElementById(id);
      if (fresh && old) {
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
      refetch(location.pathname, "actions", "timeline", "releases", "manifest");
      plan();
    }, 700);
  };
  const plan = () => {
    const section = document.getElementById("plan");
    if (section && section.dataset.from) refetch(section.dataset.from, "plan");
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
  const follow = () => {
    let first = true;
    const source = new EventSource(log.dataset.from);
    source.onopen = () => { first = true; };
    source.onmessage = (event) => {
      const low = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
      if (first) log.textContent = "";
      first = false;
      const fresh = document.createDocumentFragment();
      for (const line of JSON.parse(event.data)) {
        const isolated = document.createElement("bdi");
        isolated.textContent = visible(line);
        fresh.append(isolated, "\n");
      }
      log.append(fresh);
      while (log.childNodes.length > 2000) log.firstChild.remove();
      document.getElementById("log-empty").hidden = true;
      if (low) log.scrollTop = log.scrollHeight;
    };
    return source;
  };

  let open = [];
  const listen = () => {
    const live = new EventSource(base + "/live" + (app ? "?app=" + encodeURIComponent(app) : ""));
    live.onmessage = (event) => show(JSON.parse(event.data));
    live.addEventListener("events", (event) => showEvents(JSON.parse(event.data)));
    live.onopen = () => document.body.removeAttribute("data-stale");
    live.onerror = () => { document.body.dataset.stale = ""; };
    open = [live];
    if (log) { log.scrollTop = log.scrollHeight; open.push(follow()); }
  };
  // A hidden tab costs the host nothing.
  document.addEventListener("visibilitychange", () => {
    for (const source of open) source.close();
    open = [];
    if (!document.hidden) listen();
  });
  if (search) {
    search.addEventListener("input", filter);
    document.addEventListener("keydown", (event) => {
      const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      search.focus();
    });
  }
  setInterval(countdown, 1000);
  countdown();
  if (!document.hidden) listen();
  plan();
})();
