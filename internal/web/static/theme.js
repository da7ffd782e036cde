// Loaded before anything is painted, so that a chosen theme never flashes the other.
"use strict";
{
  let theme = null;
  try { theme = localStorage.getItem("slipway.theme"); } catch { /* kept from us: the system's theme */ }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  document.documentElement.dataset.script = "";
}
