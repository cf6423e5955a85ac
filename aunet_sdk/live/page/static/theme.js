// Light, dark, or as the system has it. Loaded before the first paint, so that nothing flashes.
(() => {
  const key = "aunet-theme";
  const read = () => { try { return localStorage.getItem(key); } catch { return null; } };
  const apply = (theme) => {
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };
  apply(read());
  window.aunetTheme = {
    get: () => document.documentElement.dataset.theme ?? "auto",
    set: (theme) => {
      apply(theme);
      try { theme === "auto" ? localStorage.removeItem(key) : localStorage.setItem(key, theme); } catch { /* a private window */ }
    },
  };
})();
