// Which words of a text differ from a reference: wordRuns compares, markedWords shows.

// Of the table below: two texts of 2,000 words; longer ones differ as a whole.
const MOST_CELLS = 4e6;

// [[text, "same" | "missing" | "added"], ...]: "missing" runs are of the reference, the others are
// of the text; put together, those others are the text itself. Case does not count. Punctuation
// may match, but never at the price of a word.
function wordRuns(reference, text) {
  const before = pieces(reference);
  const after = pieces(text);
  const runs = [];
  const add = (piece, kind) => {
    const last = runs.at(-1);
    if (last && last[1] === kind) last[0] += piece.text;
    else runs.push([piece.text, kind]);
  };
  if (before.length * after.length > MOST_CELLS) {
    before.forEach((piece) => add(piece, "missing"));
    after.forEach((piece) => add(piece, "added"));
    return runs;
  }
  const common = commonWeights(before, after);
  let i = 0;
  let j = 0;
  while (i < before.length || j < after.length) {
    const same = i < before.length && j < after.length && before[i].key === after[j].key;
    if (same && common[i][j] === common[i + 1][j + 1] + before[i].weight) {
      add(after[j], "same");
      i += 1;
      j += 1;
    } else if (j === after.length || (i < before.length && common[i + 1][j] >= common[i][j + 1])) {
      add(before[i], "missing");
      i += 1;
    } else {
      add(after[j], "added");
      j += 1;
    }
  }
  return runs;
}

// Words (letters, marks and digits; also "1.5" and "patient's") and single signs, each with the
// white space that follows it.
const PIECE = /^\s+|((?:[\p{L}\p{M}\p{N}]+(?:[.,'’](?=[\p{L}\p{N}]))?)+|\S)\s*/gu;

function pieces(text) {
  const found = text.matchAll(PIECE);
  return Array.from(found, (match) => {
    const key = (match[1] ?? "").toLowerCase();
    return { text: match[0], key, weight: /[\p{L}\p{N}]/u.test(key) ? 100 : 1 };
  });
}

// common[i][j]: the weight of the heaviest common subsequence of before[i:] and after[j:].
function commonWeights(before, after) {
  const common = Array.from(before, () => null);
  common.push(new Uint32Array(after.length + 1));
  for (let i = before.length - 1; i >= 0; i -= 1) {
    const below = common[i + 1];
    const row = new Uint32Array(after.length + 1);
    for (let j = after.length - 1; j >= 0; j -= 1) {
      row[j] = Math.max(below[j], row[j + 1]);
      if (before[i].key === after[j].key)
        row[j] = Math.max(row[j], below[j + 1] + before[i].weight);
    }
    common[i] = row;
  }
  return common;
}

// The text with <ins class="added"> around words that the reference lacks, and <del
// class="missing"> with the words that the text lacks.
function markedWords(reference, text) {
  const fragment = document.createDocumentFragment();
  const runs = wordRuns(reference, text);
  runs.forEach(([run, kind], index) => {
    const words = run.trim();
    if (kind === "same" || !/[\p{L}\p{N}]/u.test(words)) {
      fragment.append(kind === "missing" ? "" : run); // signs alone are not worth a mark
      return;
    }
    const mark = document.createElement(kind === "added" ? "ins" : "del");
    mark.className = kind;
    mark.textContent = words;
    if (kind === "added") {
      const start = run.indexOf(words);
      fragment.append(run.slice(0, start), mark, run.slice(start + words.length));
      return;
    }
    // The spaces of the reference do not fit the text: a word has one on either side.
    const joins = !/^[\p{L}\p{N}(]/u.test(words);
    const before = index > 0 && !joins && /\S$/u.test(runs[index - 1][0]) ? " " : "";
    const after = index + 1 < runs.length && /^[\p{L}\p{N}(]/u.test(runs[index + 1][0]) ? " " : "";
    fragment.append(before, mark, after);
  });
  return fragment;
}
