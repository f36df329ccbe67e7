"use strict";

// An element with attributes and children: strings become text, never markup; null is left out.
// `on...` attributes are listeners: element("button", { type: "button", onclick: go }, "Go").
function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.flat().filter((child) => child != null && child !== false));
  return node;
}

const byId = (id) => document.getElementById(id);

// Whether a key press is meant for the page: no modifier is held, and nobody is typing.
function isShortcut(event) {
  const typing = event.target.closest?.(
    "input:not([type='checkbox'], [type='radio']), textarea, select, [contenteditable]",
  );
  const modified = event.ctrlKey || event.altKey || event.metaKey;
  return !typing && !modified && !document.querySelector("dialog[open]");
}

// A text with parts of it marked, as strings and elements. `spans`: [start, end] in any order; they
// count characters as Python does, and JavaScript's strings count UTF-16 units, of which some
// characters have two.
function markedText(text, spans) {
  const characters = Array.from(text);
  const part = (start, end) => characters.slice(start, end).join("");
  const parts = [];
  let at = 0;
  for (const [start, end] of spans.toSorted((a, b) => a[0] - b[0])) {
    if (end <= at) continue;
    const from = Math.max(at, start);
    parts.push(part(at, from), element("mark", {}, part(from, end)));
    at = end;
  }
  return [...parts, part(at)].filter((one) => one !== "");
}
