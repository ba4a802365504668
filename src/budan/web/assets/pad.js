"use strict";
// The cash desk's keys, the scanner's Enter, and one form sent once.
(() => {
  const form = document.querySelector("form[data-once]");
  if (!form) return;
  const sending = form.querySelector("[data-sending]");
  let sent = false;

  form.addEventListener("submit", (event) => {
    // The server stops a double too, by the form's mark; this spares the second wait.
    if (sent) { event.preventDefault(); return; }
    sent = true;
    for (const button of form.querySelectorAll("button")) button.disabled = true;
    if (sending) sending.hidden = false;
  });
  // A page that the browser kept is alive again when one goes back to it.
  window.addEventListener("pageshow", (event) => { if (event.persisted) window.location.reload(); });

  for (const field of form.querySelectorAll("input[data-next]")) {
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      const next = document.getElementById(field.dataset.next);
      next.focus();
      next.select();
    });
  }

  const pad = form.querySelector("[data-pad]");
  if (!pad) return;
  pad.hidden = false;
  const shown = document.getElementById(pad.dataset.pad);
  const scan = document.getElementById(pad.dataset.scan);
  // A tap shows the keyboard to type a code; the pad's taps do not, because a scanner needs none.
  scan.addEventListener("pointerdown", () => { scan.inputMode = "numeric"; });
  pad.addEventListener("click", (event) => {
    const key = event.target.closest("[data-key]");
    if (!key) return;
    const typed = key.dataset.key;
    if (typed === "back") shown.value = shown.value.slice(0, -1);
    else if (shown.value.length < shown.maxLength && !(typed === "." && shown.value.includes("."))) shown.value += typed;
    // A scanner types into whatever has the focus, and its Enter would press this key once more.
    scan.inputMode = "none";
    scan.focus({ preventScroll: true });
  });
})();
