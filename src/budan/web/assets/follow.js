"use strict";
// Keeps an open page true: asks for the order's state until it is final, and shows the part that belongs to it.
(() => {
  const order = document.getElementById("order");
  if (!order || "final" in order.dataset) return;
  const EVERY_MS = 1000;
  const SLOW_EVERY_MS = 5000;
  // A page that was forgotten in a pocket asks less, and in the end not at all; coming back asks at once.
  const FAST_FOR_MS = 10 * 60 * 1000;
  const ASK_FOR_MS = 3 * 60 * 60 * 1000;
  const ANSWER_WITHIN_MS = 15000;
  const began = Date.now();
  const offline = order.querySelector("[data-offline]");
  let timer = 0;
  let asking = false;
  let done = false;

  const show = (state) => {
    if (order.dataset.state === state) return;
    order.dataset.state = state;
    for (const part of order.querySelectorAll("[data-when]")) part.hidden = part.dataset.when !== state;
  };

  const ask = async () => {
    window.clearTimeout(timer);
    if (asking || done) return;
    asking = true;
    const stop = new AbortController();
    const limit = window.setTimeout(() => stop.abort(), ANSWER_WITHIN_MS);
    try {
      const answer = await fetch(order.dataset.stateAddress, { cache: "no-store", signal: stop.signal });
      if (!answer.ok) throw new Error(String(answer.status));
      const told = await answer.json();
      show(told.state);
      done = told.is_final;
      if (offline) offline.hidden = true;
    } catch {
      if (offline) offline.hidden = false;
    }
    window.clearTimeout(limit);
    asking = false;
    const age = Date.now() - began;
    if (!done && age < ASK_FOR_MS) {
      timer = window.setTimeout(ask, document.hidden || age > FAST_FOR_MS ? SLOW_EVERY_MS : EVERY_MS);
    }
  };

  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
  window.addEventListener("pageshow", () => ask());
  if (order.dataset.state !== "paid") ask();
})();
