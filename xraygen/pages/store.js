// The studies, from files in the folder next to the page. A page that was opened from disk may not
// fetch() files; it may add a script, which hands its content to window.xraygen.

const nonce = document.currentScript.nonce;
const settings = JSON.parse(byId("data").textContent); // {files: {index, pages}, page, floor}
const received = new Map(); // "index", or the number of a page -> content
const requests = new Map(); // the same -> promise, in the order of asking
const MOST_PAGES = 20; // in memory; what was dropped is read again when needed

window.xraygen = {
  index: (content) => received.set("index", content),
  page: (number, studies) => received.set(number, studies),
};

class NotLoaded extends Error {}

async function loadIndex() {
  const index = await load("index", settings.files.index);
  const pages = Math.ceil(index.studies.length / settings.page);
  if (pages !== settings.files.pages.length) throw new NotLoaded(otherRun(settings.files.index));
  return index;
}

// A study's content, by its number in the index.
async function loadStudy(index, number) {
  const page = Math.floor(number / settings.page);
  const studies = await load(page, settings.files.pages[page]);
  const study = studies[number % settings.page];
  if (study?.id !== index.studies[number].id)
    throw new NotLoaded(otherRun(settings.files.pages[page]));
  return study;
}

function load(key, src) {
  if (!requests.has(key)) {
    requests.set(
      key,
      loadScript(key, src).catch((error) => {
        requests.delete(key); // so that it can be tried again
        throw error;
      }),
    );
    dropPages();
  }
  return requests.get(key);
}

function dropPages() {
  const pages = [...requests.keys()].filter((key) => key !== "index");
  for (const page of pages.slice(0, -MOST_PAGES)) {
    requests.delete(page);
    received.delete(page);
  }
}

function loadScript(key, src) {
  return new Promise((resolve, reject) => {
    const ended = () => {
      script.remove();
      if (received.has(key)) resolve(received.get(key));
      else reject(new NotLoaded(otherRun(src)));
    };
    const missing = () => {
      script.remove();
      reject(
        new NotLoaded(
          `${src} could not be loaded. This page needs the folder “${folderOf(src)}” next to it: ` +
            "copy that too, then reload.",
        ),
      );
    };
    const script = element("script", { src, onload: ended, onerror: missing });
    script.nonce = nonce;
    document.head.append(script);
  });
}

const folderOf = (src) => src.split("/")[0];

const otherRun = (src) =>
  `${src} is not of this page’s run. Copy the page and the folder “${folderOf(src)}” together.`;

// Every study with its row, in the order of the index. `progress` is told how many files of how
// many were read.
async function* allStudies(index, progress) {
  for (const [number, row] of index.studies.entries()) {
    if (number % settings.page === 0) progress(number / settings.page, settings.files.pages.length);
    yield [await loadStudy(index, number), row];
  }
}

// The text of every study for searching, in lower case, in the order of the index.
let allTexts = null;

async function loadTexts(index, progress) {
  if (allTexts) return allTexts;
  const texts = [];
  for await (const [study] of allStudies(index, progress)) texts.push(searchable(study));
  allTexts = texts;
  return texts;
}

function searchable(study) {
  const answers = study.answers.flatMap((answer) =>
    Object.values(answer.regions).map((region) => region.text),
  );
  return [study.id, study.report, ...Object.values(study.reference), ...answers]
    .join("\n")
    .toLowerCase();
}
