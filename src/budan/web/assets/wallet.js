"use strict";
// Leads into the wallet: follows the one link that the payer has just asked for, and calls WeChat's own payment sheet.
(() => {
  const link = document.querySelector("a[data-follow]");
  if (link) {
    // Coming back with the browser's button must not lead away again.
    const here = new URL(window.location.href);
    here.searchParams.delete("go");
    window.history.replaceState(null, "", here);
    // A click, so that the link's own referrer policy counts: WeChat wants to know whose page leads to it.
    link.click();
  }

  const button = document.getElementById("pay-in-wechat");
  if (!button) return;
  const pay = () => {
    // What the sheet answers is no proof of payment; the page goes on asking us.
    window.WeixinJSBridge.invoke("getBrandWCPayRequest", JSON.parse(button.dataset.jsapi), () => {});
  };
  button.addEventListener("click", () => {
    if (window.WeixinJSBridge) pay();
    else document.addEventListener("WeixinJSBridgeReady", pay, { once: true });
  });
})();
