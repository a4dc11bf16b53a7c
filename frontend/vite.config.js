// Bundles the pages' modules into ../webapp/static/built; nothing is fetched from another host at run time.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { defineConfig } from "vite";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const OUT = here("../webapp/static/built");

// Each module of src/pages is an entry: a template of the server loads it by its name.
const PAGES = readdirSync(here("src/pages")).filter((name) => name.endsWith(".ts"));
const ENTRIES = Object.fromEntries(PAGES.map((name) => [name.slice(0, -3), here(`src/pages/${name}`)]));

// Everything but the entries is named by its content, so that browsers may keep it for ever.
const PARTS = {
  entryFileNames: "parts/[name]-[hash].js",
  chunkFileNames: "parts/[name]-[hash].js",
  assetFileNames: "parts/[name]-[hash][extname]",
};

// Scripts and codecs shrink to a third; the server sends these to browsers that take gzip.
function compressed() {
  return {
    name: "compressed",
    apply: "build",
    writeBundle(options, bundle) {
      for (const name of Object.keys(bundle)) {
        const path = join(options.dir, name);
        writeFileSync(`${path}.gz`, gzipSync(readFileSync(path), { level: 9 }));
      }
    },
  };
}

// Our content security policy refuses style attributes; set as a property, the same style is let through.
function stylesAsProperties() {
  return {
    name: "styles-as-properties",
    transform(code, id) {
      if (!id.endsWith("/tools/dist/esm/drawingSvg/drawTextBox.js")) return null;
      const changed = code.replace(
        "textElement.setAttribute('style', combinedStyle)",
        "textElement.style.cssText = combinedStyle",
      );
      if (changed === code)
        throw new Error("drawTextBox.js of @cornerstonejs/tools has changed: look at its styles again");
      return { code: changed, map: null };
    },
  };
}

export default defineConfig({
  root: here("."),
  base: "./",
  resolve: {
    // vtk.js writes mesh files with it; its Node base class breaks in browsers
    alias: { xmlbuilder2: here("src/no_xml.ts") },
  },
  worker: { format: "es", rollupOptions: { output: PARTS } },
  plugins: [stylesAsProperties(), compressed()],
  test: { include: ["tests/**/*.test.ts"], pool: "threads", isolate: false },
  build: {
    outDir: OUT,
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 6000,
    modulePreload: { polyfill: false },
    rollupOptions: {
      input: ENTRIES,
      output: { ...PARTS, entryFileNames: "[name].js" },
    },
  },
});
