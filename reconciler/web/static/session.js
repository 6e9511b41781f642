// Remembers the path of this browser's session, so that the page's plain address leads back to it. Scripts of other
// ports and hosts cannot read this storage, and the path opens nothing without its cookie.
"use strict";
(() => {
  const { base, login } = document.body.dataset;
  const kept = /^\/s\/[\w-]{22}$/;
  try {
    if (base && kept.test(base)) localStorage.setItem("session", base);
    if (login === "link") document.querySelector("main form").submit();
    if (login !== "ask") return;
    const query = new URLSearchParams(location.search);
    if (query.has("ended")) {
      localStorage.removeItem("session");
      return;
    }
    const session = localStorage.getItem("session"), to = query.get("to") || "/";
    if (session && kept.test(session) && to.startsWith("/")) location.replace(session + to);
  } catch { /* without storage, each new tab logs in */ }
})();
