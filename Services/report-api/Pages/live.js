"use strict";
(function () {
  var live = document.getElementById("live");
  var note = document.getElementById("live-note");
  if (!live || !window.fetch || !window.DOMParser) return;
  var tag = live.dataset.tag;
  var misses = 0;

  function state() { return document.getElementById("state"); }

  function plan() {
    var interval = Number(state().dataset.interval);
    if (interval > 0) window.setTimeout(look, interval * Math.min(1 << misses, 16));
  }

  function show(html) {
    var before = state().dataset.state;
    var focused = document.activeElement && document.activeElement.id;
    var fresh = new DOMParser().parseFromString(html, "text/html");
    ["state", "summary", "results"].forEach(function (id) {
      var old = document.getElementById(id);
      var next = fresh.getElementById(id);
      if (next && old.outerHTML !== next.outerHTML) old.replaceWith(document.adoptNode(next));
    });
    if (focused && document.activeElement.id !== focused) {
      var again = document.getElementById(focused);
      (again || document.getElementById("main")).focus({ preventScroll: true });
    }
    if (before !== state().dataset.state) note.textContent = state().textContent.trim();
  }

  function look() {
    if (document.hidden) {
      document.addEventListener("visibilitychange", look, { once: true });
      return;
    }
    fetch(live.dataset.url, { headers: { "If-None-Match": tag }, cache: "no-store", redirect: "manual" })
      .then(function (answer) {
        if (answer.type === "opaqueredirect") { window.location.reload(); return null; }
        if (answer.status === 304) return stamp(answer);
        if (!answer.ok) throw new Error(String(answer.status));
        tag = answer.headers.get("ETag") || "";
        return answer.text().then(function (html) { show(html); stamp(answer); });
      })
      .then(function () {
        if (misses > 0) note.textContent = "";
        misses = 0;
      })
      .catch(function () {
        misses += 1;
        if (misses === 3) note.textContent = "The figures cannot be brought up to date right now. Still trying.";
      })
      .then(plan);
  }

  function stamp(answer) {
    var asOf = answer.headers.get("Rollcall-As-Of");
    var place = document.getElementById("as-of");
    if (asOf && place) place.textContent = asOf;
  }

  plan();
})();
