// The API's reference: Swagger UI over the service's own document. The bundle
// is a plain script that leaves its one function on the window.

const dark = matchMedia("(prefers-color-scheme: dark)");
const dress = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", dress);
dress();

// What Swagger UI's parts lack for a screen reader: landmarks and headings in
// order, a name for the choice of an example, and no link inside of a button (an
// operation that is opened has its address all the same). There is one server:
// nothing to choose.
const parts = {
  wrapComponents: {
    ServersContainer: () => () => null,
    InfoContainer: (Info, { React: { createElement } }) => (props) =>
      createElement("section", { "aria-label": "About the API" }, createElement(Info, props)),
    operations: (Operations, { React: { createElement } }) => (props) =>
      createElement("div", null, createElement("h2", { className: "visually-hidden" }, "Operations"), createElement(Operations, props)),
    ExamplesSelect: (Select, { React: { createElement } }) => (props) =>
      createElement("label", null, createElement("span", { className: "visually-hidden" }, "Example"), createElement(Select, props)),
    DeepLink: (_, { React: { createElement } }) => ({ text, children }) => createElement("span", null, text ?? children),
  },
};

/** read gives the service's document. Meanwhile, and if it does not come, the page says so. */
async function read() {
  const text = document.getElementById("starting-text");
  text.textContent = "Reading openapi.json…";
  try {
    const answer = await fetch("/openapi.json", { credentials: "omit" });
    if (!answer.ok) throw new Error(`the service answered ${answer.status}`);
    return await answer.json();
  } catch (error) {
    text.textContent = `The API's description did not come: ${error.message}. Load the page again.`;
    return null;
  }
}

const spec = await read();
if (spec) window.SwaggerUIBundle({
  spec,
  domNode: document.getElementById("reference"),
  layout: "BaseLayout",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  syntaxHighlight: { theme: "obsidian" }, // whose colours have contrast enough
  validatorUrl: null, // no other host is asked
  plugins: [() => parts],
});
