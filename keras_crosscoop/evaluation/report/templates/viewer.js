"use strict";

const classes = new Map(
  [...document.querySelectorAll("#classes [data-id]")].map((item) => [Number(item.dataset.id), item]),
);

/** Decodes an image; returns a function from x and y to [red, green, blue]. */
async function pixels(uri) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { data, width } = context.getImageData(0, 0, canvas.width, canvas.height);
  return (x, y) => data.subarray(4 * (y * width + x), 4 * (y * width + x) + 3);
}

/** Returns a function that decodes the values of an example's panels, once, at its first call. */
function reader(panels) {
  let decoded;
  return () =>
    (decoded ??= Promise.all(
      panels
        .filter((panel) => panel.dataset.classes)
        .map(async ({ dataset }) => ({
          name: dataset.name,
          classes: await pixels(dataset.classes),
          probabilities: dataset.probabilities && (await pixels(dataset.probabilities)),
        })),
    ));
}

function element(tag, text, ...children) {
  const node = document.createElement(tag);
  node.textContent = text;
  node.append(...children);
  return node;
}

function classWithSwatch(id, share) {
  const item = classes.get(id);
  const swatch = element("i", "");
  swatch.className = "swatch";
  swatch.style.background = item ? item.dataset.colour : "#fff";
  const node = element("span", "", swatch, item ? item.textContent : "void");
  if (share !== undefined) node.append(` ${((100 * share) / 255).toFixed(0)} %`);
  return node;
}

/** Makes a table with a row for the label and for each output: its classes and their probabilities at a pixel. */
function table(layers, x, y) {
  const label = layers[0].classes(x, y)[0];
  const rows = layers.map(({ name, classes: ids, probabilities }) => {
    const cell = element("td", "");
    if (!probabilities) {
      cell.append(classWithSwatch(label));
    } else {
      const shares = probabilities(x, y);
      if (classes.has(label)) cell.append(element("span", ids(x, y)[0] === label ? "right:" : "wrong:"), " ");
      ids(x, y).forEach((id, rank) => classes.has(id) && cell.append(classWithSwatch(id, shares[rank]), " "));
    }
    return element("tr", "", element("th", name), cell);
  });
  return element("table", "", ...rows);
}

function enhance(example, template) {
  const panels = [...example.querySelectorAll(".panels img")];
  const viewer = template.content.firstElementChild.cloneNode(true);
  const [stage, from, to, fade, readout, cross, under, over] = [
    ...[".stage", ".from", ".to", ".fade input", ".readout", ".cross", ".under", ".over"],
  ].map((selector) => viewer.querySelector(selector));
  const layers = reader(panels);
  let place = null;

  panels.forEach((panel, index) => {
    from.add(new Option(panel.dataset.name, index));
    to.add(new Option(panel.dataset.name, index));
  });
  to.value = panels.findLastIndex((panel) => panel.dataset.probabilities);

  function show() {
    under.src = panels[from.value].src;
    over.src = panels[to.value].src;
    over.style.opacity = fade.value / 100;
  }

  async function point(x, y) {
    const { naturalWidth: width, naturalHeight: height } = panels[0];
    place = [Math.min(Math.max(x, 0), width - 1), Math.min(Math.max(y, 0), height - 1)];
    const read = await layers();
    const [column, row] = place;
    const factor = [example.dataset.width / width, example.dataset.height / height];
    const own = place.map((value, axis) => Math.floor((value + 0.5) * factor[axis]));
    cross.hidden = false;
    cross.style.left = `${(100 * (column + 0.5)) / width}%`;
    cross.style.top = `${(100 * (row + 0.5)) / height}%`;
    readout.replaceChildren(element("p", `Column ${own[0]}, row ${own[1]}`), table(read, column, row));
  }

  for (const area of [stage, ...panels])
    for (const kind of ["pointerdown", "pointermove"])
      area.addEventListener(kind, (event) => {
        const { left, top, width, height } = area.getBoundingClientRect();
        const [x, y] = [(event.clientX - left) / width, (event.clientY - top) / height];
        point(Math.floor(x * panels[0].naturalWidth), Math.floor(y * panels[0].naturalHeight));
      });
  stage.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const middle = [panels[0].naturalWidth >> 1, panels[0].naturalHeight >> 1];
    const far = event.shiftKey ? 10 : 1;
    point(...(place ?? middle).map((value, axis) => value + (place ? far * step[axis] : 0)));
  });
  for (const control of [from, to, fade]) control.addEventListener("input", show);
  show();
  example.querySelector(".panels").before(viewer);
}

for (const example of document.querySelectorAll(".example")) enhance(example, document.getElementById("viewer"));
