"use strict";
// Leads into the wallet: follows the one link that the payer has just asked for, and calls WeChat's or Alipay's own payment sheet.
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

  // What a sheet answers is no proof of payment; the page goes on asking us.
  const sheets = {
    "pay-in-wechat": ["WeixinJSBridge", (wallet, parameters) => wallet.invoke("getBrandWCPayRequest", parameters, () => {})],
    "pay-in-alipay": ["AlipayJSBridge", (wallet, parameters) => wallet.call("tradePay", parameters, () => {})],
  };
  for (const [id, [bridge, open]] of Object.entries(sheets)) {
    const button = document.getElementById(id);
    const pay = () => open(window[bridge], JSON.parse(button.dataset.jsapi));
    button?.addEventListener("click", () => {
      if (window[bridge]) pay();
      else document.addEventListener(`${bridge}Ready`, pay, { once: true });
    });
  }
})();
