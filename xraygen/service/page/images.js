// The images that are chosen: previews, their projections, and removing them.

const chosen = []; // { file, projection, preview: an address or null }

function addImages(files) {
  for (const file of files) {
    const shown = ["image/png", "image/jpeg"].includes(file.type);
    chosen.push({ file, projection: "unknown", preview: shown ? URL.createObjectURL(file) : null });
  }
  showImages();
}

function removeImages(start = 0, number = chosen.length) {
  for (const { preview } of chosen.splice(start, number)) if (preview) URL.revokeObjectURL(preview);
  showImages();
}

function showImages() {
  byId("chosen").replaceChildren(...chosen.map(imageItem));
  byId("drop").classList.toggle("filled", chosen.length > 0);
  byId("ask").dispatchEvent(new Event("input"));
}

const PROJECTIONS = { unknown: "view unknown", frontal: "frontal view", lateral: "lateral view" };

function imageItem(image, number) {
  const { name } = image.file;
  const projection = element("select", { "aria-label": `Projection of ${name}` });
  for (const [value, label] of Object.entries(PROJECTIONS)) {
    const selected = value === image.projection;
    projection.append(element("option", { value, selected }, label));
  }
  projection.addEventListener("change", () => {
    image.projection = projection.value;
  });
  const remove = () => {
    removeImages(number, 1);
    const next = byId("chosen").children[Math.min(number, chosen.length - 1)];
    (next?.querySelector("button") ?? byId("choose")).focus();
  };
  return element(
    "li",
    {},
    preview(image),
    element("span", { class: "file-name", title: name }, name),
    projection,
    element("button", { type: "button", "aria-label": `Remove ${name}`, onclick: remove }, "Remove"),
  );
}

// What the browser cannot show, DICOM above all, has a tile with its type.
function preview({ file, preview }) {
  const type = file.name.includes(".") ? file.name.split(".").at(-1).slice(0, 5) : "file";
  const tile = element("span", { class: "preview", "aria-hidden": "true" }, type.toUpperCase());
  if (preview === null) return tile;
  const image = element("img", { class: "preview", src: preview, alt: "" });
  image.addEventListener("error", () => image.replaceWith(tile));
  return image;
}

// Files may be dropped anywhere: next to its place, the browser would leave the page for the file.
function takeDrops() {
  const drop = byId("drop");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    drop.classList.add("over");
  });
  addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) drop.classList.remove("over");
  });
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    drop.classList.remove("over");
    addImages(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData.files.length > 0) {
      event.preventDefault();
      addImages(event.clipboardData.files);
    }
  });
  byId("choose").addEventListener("click", () => byId("files").click());
  byId("files").addEventListener("change", ({ target }) => {
    addImages(target.files);
    target.value = ""; // so that the same file can be chosen again
  });
}
