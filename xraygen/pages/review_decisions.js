// The decisions of one reader on the texts of a page, kept in this browser where it allows that.
//
// Each decision is kept under a separate key, so that a second tab overwrites no other one. The
// keys begin with the sample, which is the hash of the texts, and the reader's name.

const DECISIONS = ["accepted", "edited", "rejected"];

// localStorage, or null where the browser keeps nothing for pages from disk.
function keptStorage() {
  try {
    localStorage.setItem("xraygen probe", "");
    localStorage.removeItem("xraygen probe");
    return localStorage;
  } catch {
    return null;
  }
}

class Decisions {
  // `items`: [{id, region, text}, ...], the texts in the order of the page. `lost` is called when
  // the browser stops keeping decisions.
  constructor(data, items, reader, storage, lost) {
    Object.assign(this, { data, items, reader, storage, lost });
    this.made = items.map((item) => this.kept(this.key(item.id, item.region)));
    this.exported = this.kept(this.key("exported")) ?? "[]";
  }

  // {decision: "accepted", "edited", "rejected" or null, text, comment}
  of(index) {
    return this.made[index] ?? { decision: null, text: null, comment: "" };
  }

  decide(index, decision, text = null) {
    this.put(index, { decision, text, comment: this.of(index).comment });
  }

  comment(index, comment) {
    this.put(index, { ...this.of(index), comment });
  }

  put(index, made) {
    const item = this.items[index];
    this.made[index] = made;
    this.keep(this.key(item.id, item.region), made);
  }

  count() {
    return this.items.filter((_, index) => this.of(index).decision).length;
  }

  // The index of the item that another tab has decided, -1 if the event is of something else.
  changedElsewhere(event) {
    const index = this.items.findIndex((item) => this.key(item.id, item.region) === event.key);
    if (index >= 0) this.made[index] = event.newValue && JSON.parse(event.newValue);
    return index;
  }

  key(...parts) {
    return JSON.stringify([this.data.format, this.data.sample, this.reader, ...parts]);
  }

  kept(key) {
    try {
      return JSON.parse(this.storage?.getItem(key) ?? "null");
    } catch {
      return null; // not written by this page
    }
  }

  keep(key, value) {
    try {
      this.storage?.setItem(key, JSON.stringify(value));
    } catch {
      this.storage = null; // full
      this.lost();
    }
  }

  records() {
    const { reader } = this;
    const { approach } = this.data;
    return this.items.flatMap(({ id, region, text: shown }, index) => {
      const { decision, text, comment } = this.of(index);
      if (!decision) return [];
      return [{ id, region, approach, reader, shown, decision, text: finalText(decision, shown, text), comment }];
    });
  }

  // The JSON Lines that `xraygen adjudicate` reads: a header, then what is decided so far.
  lines() {
    const { format, sample } = this.data;
    const today = new Date().toISOString().slice(0, 10);
    const header = { format, reader: this.reader, created: today, items: this.items.length, sample };
    return [header, ...this.records()].map((record) => `${JSON.stringify(record)}\n`).join("");
  }

  markExported() {
    this.exported = JSON.stringify(this.records());
    this.keep(this.key("exported"), this.exported);
  }

  isExported() {
    return JSON.stringify(this.records()) === this.exported;
  }

  // [[index, decision], ...] of an exported file. Error: it is not one, or of other texts or
  // another reader; nothing is changed.
  read(text) {
    const [header, ...records] = text.split("\n").filter((line) => line.trim()).map(parsed);
    if (header?.format !== this.data.format) throw new Error("It was not exported by this kind of page.");
    if (header.sample !== this.data.sample) throw new Error("It is of other texts than this page.");
    if (header.reader !== this.reader) throw new Error(`It is of the reader ${header.reader}.`);
    return records.map((record, number) => {
      const found = this.itemOf(record ?? {});
      if (!found) throw new Error(`Line ${number + 2} is damaged.`);
      return found;
    });
  }

  // [index, decision] of an exported record; null where it is damaged or of another text.
  itemOf(record) {
    const index = this.items.findIndex((item) =>
      item.id === record.id && item.region === record.region && item.text === record.shown);
    if (index < 0 || !isDecision(record)) return null;
    const { decision, text, comment } = record;
    return [index, { decision, text: decision === "edited" ? text : null, comment }];
  }

  // Whether taking over a decision would lose another one, or a comment.
  differs(index, made) {
    const { decision, text, comment } = this.of(index);
    const isOther = decision !== made.decision || text !== made.text;
    return Boolean(decision) && isOther || Boolean(comment) && comment !== made.comment;
  }
}

function finalText(decision, shown, edited) {
  if (decision === "rejected") return null;
  return decision === "edited" ? edited : shown;
}

function parsed(line) {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}

function isDecision({ decision, text, comment }) {
  const fits = decision === "rejected" ? text === null : typeof text === "string";
  return DECISIONS.includes(decision) && fits && typeof comment === "string";
}
