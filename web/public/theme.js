// Sets the chosen theme before the first paint; without a choice the system's applies.
try {
  const theme = localStorage.getItem("tidegauge-theme");
  if (theme === "light" || theme === "dark") {
    document.documentElement.dataset.theme = theme;
  }
} catch {
  // Storage may be forbidden; then there is no choice to remember.
}
