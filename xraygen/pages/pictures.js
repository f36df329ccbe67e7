// The pictures of a study, small ones that open large ones.

function pictureButtons(study) {
  const pictures = study.pictures.toSorted(
    (a, b) => (b.projection === "frontal") - (a.projection === "frontal"),
  );
  return pictures.map((picture, number) => {
    if (picture.src === null) return pictureNote(picture, "not readable");
    const image = element("img", {
      src: picture.src,
      width: picture.width,
      height: picture.height,
      alt: `${picture.projection} view`,
      onerror: ({ target }) =>
        target.closest("button")?.replaceWith(pictureNote(picture, NOT_FOUND)),
    });
    const open = () =>
      showPicture(
        pictures.filter((one) => one.src !== null),
        picture,
      );
    return element(
      "button",
      { type: "button", class: "picture", title: "Enlarge", "data-number": number, onclick: open },
      image,
    );
  });
}

const NOT_FOUND = "picture not found; copy the folder “studies/pictures” too";

const pictureNote = ({ projection }, text) =>
  element("p", { class: "muted picture" }, `${projection}: ${text}`);

let enlarged = { pictures: [], at: 0 };

function showPicture(pictures, picture) {
  enlarged = { pictures, at: pictures.indexOf(picture) };
  enlarge(0);
  byId("picture").showModal();
}

// Another picture of the same study, this many further on.
function enlarge(by) {
  const { pictures } = enlarged;
  enlarged.at = (enlarged.at + by + pictures.length) % pictures.length;
  const picture = pictures[enlarged.at];
  const large = byId("picture-large");
  large.src = picture.src;
  large.width = picture.width;
  large.height = picture.height;
  large.alt = `${picture.projection} view`;
  const more = pictures.length > 1 ? `, ${enlarged.at + 1} of ${pictures.length}` : "";
  byId("picture-other").hidden = pictures.length === 1;
  byId("picture-caption").textContent = `${picture.projection} view${more}`;
}

function preparePictures() {
  const dialog = byId("picture");
  byId("picture-other").addEventListener("click", () => enlarge(1));
  byId("picture-close").addEventListener("click", () => dialog.close());
  byId("picture-large").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") enlarge(1);
    if (event.key === "ArrowLeft") enlarge(-1);
  });
}
