// Light and dark: the system's, or the one that was chosen (kept by the browser).

type Choice = "auto" | "light" | "dark";

const KEY = "tidegauge-theme";
const NEXT: Record<Choice, Choice> = { auto: "light", light: "dark", dark: "auto" };
const LABELS: Record<Choice, string> = {
  auto: "Theme: as the system",
  light: "Theme: light",
  dark: "Theme: dark",
};
const PATHS: Record<Choice, string> = {
  auto: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  light:
    "M12 8a4 4 0 1 0 0 8a4 4 0 1 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M5 19l1.4-1.4M17.6 6.4L19 5",
  dark: "M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5z",
};

let colors = new Map<string, string>();

/** The value of a CSS variable in the theme that is shown; canvases cannot read them. */
export function color(name: string): string {
  let value = colors.get(name);
  if (value === undefined) {
    value = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    colors.set(name, value);
  }
  return value;
}

/** The same with an opacity from 0 to 1, for colours that are written as `#rrggbb`. */
export function faded(name: string, opacity: number): string {
  const hex = Math.round(opacity * 255).toString(16);
  return color(name) + hex.padStart(2, "0");
}

export function setUpTheme(button: HTMLButtonElement, changed: () => void): void {
  let choice: Choice = (document.documentElement.dataset["theme"] as Choice | undefined) ?? "auto";
  const apply = () => {
    if (choice === "auto") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = choice;
    button.title = LABELS[choice];
    button.setAttribute("aria-label", LABELS[choice]);
    button.replaceChildren(icon(PATHS[choice]));
    colors = new Map();
    changed();
  };
  button.addEventListener("click", () => {
    choice = NEXT[choice];
    try {
      if (choice === "auto") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, choice);
    } catch {
      // Storage may be forbidden; then the choice lasts as long as the page.
    }
    apply();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
  apply();
}

function icon(path: string): SVGSVGElement {
  const name = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(name, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const shape = document.createElementNS(name, "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}
