import { defineConfig } from "vite";

// The page is served with `default-src 'self'`: nothing may be inlined as a data: address.
export default defineConfig({
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  // `npx vite` with a running `tidegauge up` behind it, for work on the page.
  server: { proxy: { "/api": process.env.TIDEGAUGE_URL ?? "http://127.0.0.1:7710" } },
});
