// Requests to the service, and what can go wrong with them.

// What the user is told. `title`, `detail`: as in problem details (RFC 9457). `field`: the id of the
// control that it is about.
class Problem extends Error {
  constructor(title, detail = "", { status = 0, field = null } = {}) {
    super(title);
    Object.assign(this, { title, detail, status, field });
  }
}

// What the service answers, read as JSON. Addresses are relative to the page, which a reverse proxy
// may serve under a prefix.
async function ask(address, { key, ...options }) {
  const headers = { ...options.headers };
  if (key) headers.Authorization = `Bearer ${key}`;
  let response;
  let text;
  try {
    response = await fetch(address, { ...options, headers, cache: "no-store" });
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(
      "The service cannot be reached",
      "Check the connection and whether the service is running, then try again.",
    );
  }
  const content = parsed(text);
  if (!response.ok) throw problemOf(response, content);
  if (content === null) throw new Problem("The service’s answer is not JSON", "Try again.");
  return content;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function problemOf(response, content) {
  const { status, headers } = response;
  if (status === 401) {
    const key = byId("key").value.trim();
    const detail = key ? "The service does not know this key." : "Enter one to use this service.";
    return new Problem("An API key is needed", detail, { status, field: "key" });
  }
  const title = content?.title ?? `The service answered with status ${status}`;
  const details = [content?.detail];
  const seconds = Number(headers.get("Retry-After"));
  if (seconds > 0) details.push(`Try again in ${seconds} ${seconds === 1 ? "second" : "seconds"}.`);
  const id = headers.get("X-Request-ID");
  if (id && status >= 500) details.push(`Request ${id}.`);
  return new Problem(title, details.filter(Boolean).join(" "), { status });
}

// What a request for annotations is made of. `images`: [{ file, projection }].
function bodyOf({ approach, report, images }) {
  const one = { id: "1", report };
  if (images.length > 0) {
    one.images = images.map(({ projection }, number) => ({ file: `image-${number}`, projection }));
  }
  const request = JSON.stringify({ approach: approach ?? undefined, cases: [one] });
  if (images.length === 0) return { body: request, headers: { "Content-Type": "application/json" } };
  const body = new FormData();
  body.append("request", request);
  // Without the names of the files, which may be those of patients.
  images.forEach(({ file }, number) => body.append(`image-${number}`, file, `image-${number}`));
  return { body, headers: {} };
}

const ROOM = 500; // bytes for what surrounds each part of a request, at most

// Problem: the service would refuse this. `limits`: as in GET /v1/approaches, {} where unknown.
function checkLimits({ report, images }, limits) {
  const length = Array.from(report).length;
  if (length > limits.max_text) {
    throw new Problem(
      "The report is too long",
      `It has ${count(length)} characters; at most ${count(limits.max_text)} are taken.`,
      { field: "report" },
    );
  }
  if (images.length > limits.max_images) {
    throw new Problem(
      "There are too many images",
      `At most ${count(limits.max_images)} are taken; remove ${images.length - limits.max_images}.`,
      { field: "choose" },
    );
  }
  const parts = [JSON.stringify(report), ...images.map(({ file }) => file)];
  const size = new Blob(parts).size + ROOM * parts.length;
  if (size > limits.max_body) {
    throw new Problem(
      "The images are too large",
      `All together have ${megabytes(size)}; at most ${megabytes(limits.max_body)} are taken.`,
      { field: "choose" },
    );
  }
}

const count = (number) => number.toLocaleString("en");
const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
