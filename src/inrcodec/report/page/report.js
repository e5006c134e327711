"use strict";

// The pictures' axes are x (right), y (down) and z (up); a sample is a voxel that the page holds.

const EXPERT_COLOURS = [ // Okabe and Ito: told apart by colour-blind people too
  [230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66],
  [0, 114, 178], [213, 94, 0], [204, 121, 167], [153, 153, 153],
];
const KINDS = ["original", "decoded", "error"];
const KIND_NAMES = { original: "Original", decoded: "Decoded", error: "Error" };
const SLIDER_STEPS = 1000;
const WHEEL_NOTCH = 100; // pixels
const UP = 2; // the axis that runs upwards

const byId = (id) => document.getElementById(id);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

const view = JSON.parse(byId("view").textContent);
const { axes, levels } = view;
const counts = axes.map((axis) => axis.samples);
const strides = [1, counts[0], counts[0] * counts[1], counts[0] * counts[1] * counts[2]];
const ends = [levels.first, levels.first + levels.step * levels.highest].sort((a, b) => a - b);
const smallest = Math.abs(levels.step); // difference of two values
const span = Math.max(ends[1] - ends[0], smallest);

const state = {
  position: counts.map((count) => count >> 1), // sample along each axis
  volume: 0,
  centre: 0,
  width: 1,
  error: view.errorMaximum,
  overlay: false,
  opacity: 0.45,
  crosshair: true,
};

// Voxels: what inrcodec.report.levels packed.

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

async function inflate(id) {
  const element = byId(id);
  const packed = new Blob([fromBase64(element.textContent.trim())]);
  element.remove(); // so that its memory can go
  const stream = packed.stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function unpack(name) {
  const ids = Array.from({ length: view.streams[name] }, (_, byte) => `${name}-${byte}`);
  const [low, high] = await Promise.all(ids.map(inflate));
  const [nx, ny] = counts;
  const result = high ? new Uint16Array(low.length) : low;
  for (let i = 0; i < low.length; i++) {
    const zigzag = high ? low[i] | (high[i] << 8) : low[i];
    result[i] = (zigzag >> 1) ^ -(zigzag & 1);
  }
  for (let start = 0; start < result.length; start += nx * ny) {
    const stop = start + nx * ny;
    for (let i = start + nx; i < stop; i++) result[i] += result[i - nx];
    for (let row = start; row < stop; row += nx) {
      for (let i = row + 1; i < row + nx; i++) result[i] += result[i - 1];
    }
  }
  return result;
}

// Numbers as people read them.

const rounded = (value) => Number(value.toPrecision(4));
const readable = (value) => String(rounded(value)).replace("-", "\u2212");
const withUnit = (value) => (view.unit ? `${readable(value)} ${view.unit}` : readable(value));
const valueOf = (level) => levels.first + levels.step * level;

/** Index of a sample's voxel along its axis of the file. */
function voxel(axis, sample) {
  const { flipped, samples, stride } = axes[axis];
  return (flipped ? samples - 1 - sample : sample) * stride;
}

/** The sample nearest to a voxel. */
function sampleAt(axis, index) {
  const { flipped, samples, stride } = axes[axis];
  const number = clamp(Math.round(index / stride), 0, samples - 1);
  return flipped ? samples - 1 - number : number;
}

// Elements.

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function shape(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Colours: one table from level to pixel for the window, one from difference to pixel.

const grey = new Uint32Array(levels.highest + 1);
const heat = new Uint32Array(levels.highest + 1);
const pixel = (red, green, blue) => (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;

function heatColour(fraction) {
  const colours = view.errorColours;
  const place = clamp(fraction, 0, 1) * (colours.length - 1);
  const stop = Math.min(Math.floor(place), colours.length - 2);
  const part = place - stop;
  return pixel(...colours[stop].map((c, i) => Math.round(c + part * (colours[stop + 1][i] - c))));
}

function fillTables() {
  const black = state.centre - state.width / 2;
  for (let level = 0; level < grey.length; level++) {
    const shade = Math.round(255 * clamp((valueOf(level) - black) / state.width, 0, 1));
    grey[level] = pixel(shade, shade, shade);
    heat[level] = heatColour((level * smallest) / state.error);
  }
}

function drawBar(id, colour) {
  const context = byId(id).getContext("2d");
  const image = context.createImageData(256, 1);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < 256; i++) pixels[i] = colour(i / 255);
  context.putImageData(image, 0, 0);
}

// Planes.

/** Length of the volume along an axis. */
const size = (axis) => counts[axis] * axes[axis].stride * axes[axis].spacing;

let volumes; // levels of the original and the decoded volume, and experts

function makePlane(plane, number) {
  const { across, right, down } = plane;
  const label = element("output");
  const title = element("h2", { id: `plane-${number}` }, plane.name);
  const slider = element("input", {
    type: "range", min: 0, max: counts[across] - 1, step: 1,
    "aria-label": `Slice, ${plane.name}`,
  });
  slider.disabled = counts[across] === 1;
  slider.addEventListener("input", () => moveTo(across, slider.valueAsNumber));
  const cells = element("div", { class: "cells" });
  const made = { ...plane, slider, label, size: [size(right), size(down)], pictures: {}, crosses: [] };
  cells.style.setProperty("--width", made.size[0]);
  cells.style.setProperty("--height", made.size[1]);
  for (const kind of KINDS) {
    const canvas = element("canvas", {
      width: counts[right], height: counts[down], role: "img",
      "aria-label": `${plane.name}, ${KIND_NAMES[kind].toLowerCase()}`,
      "data-plane": number, "data-kind": kind,
    });
    const cross = [element("div", { class: "cross down" }), element("div", { class: "cross across" })];
    const frame = element("div", { class: "frame" }, canvas, ...cross);
    const cell = element(
      "div", { class: "cell" }, frame, element("span", { class: "name" }, KIND_NAMES[kind]),
    );
    if (view.marks) cell.append(...makeMarks(view.marks[right], view.marks[down], down === UP));
    listenToPointer(cell, frame, made);
    cells.append(cell);
    const context = canvas.getContext("2d");
    const image = context.createImageData(counts[right], counts[down]);
    made.pictures[kind] = { context, image, pixels: new Uint32Array(image.data.buffer) };
    made.crosses.push(cross);
  }
  const head = element("div", { class: "plane-head" }, title, slider, label);
  made.section = element("section", { "aria-labelledby": `plane-${number}` }, head, cells);
  byId("planes").append(made.section);
  return made;
}

function makeMarks(sides, ends, upwards) {
  const [top, bottom] = upwards ? [ends[1], ends[0]] : ends;
  const texts = { left: sides[0], right: sides[1], top, bottom };
  return Object.entries(texts).map(([side, text]) =>
    element("span", { class: `mark ${side}` }, text));
}

function listenToPointer(cell, frame, plane) {
  const { across, right, down } = plane;
  const pick = (event) => {
    const box = frame.getBoundingClientRect();
    const at = (part, count) => clamp(Math.floor(part * count), 0, count - 1);
    const row = at((event.clientY - box.top) / box.height, counts[down]);
    state.position[right] = at((event.clientX - box.left) / box.width, counts[right]);
    state.position[down] = down === UP ? counts[down] - 1 - row : row;
    changed();
  };
  frame.addEventListener("pointerdown", (event) => {
    if (event.button === 0) pick(event);
    if (event.button === 1) return;
    event.preventDefault();
    frame.setPointerCapture(event.pointerId);
    plane.slider.focus({ preventScroll: true });
  });
  frame.addEventListener("pointermove", (event) => {
    if (event.buttons & 1) pick(event);
    if (event.buttons & 2) {
      const unit = Math.max(state.width, smallest) / 300;
      const width = clamp(state.width + event.movementX * unit, smallest, 4 * span);
      setWindow(state.centre - event.movementY * unit, width);
    }
  });
  cell.addEventListener("contextmenu", (event) => event.preventDefault());
  let wheeled = 0;
  cell.addEventListener("wheel", (event) => {
    if (event.ctrlKey) return; // zooms the page
    event.preventDefault();
    wheeled += event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY * 34 : event.deltaY;
    const notches = Math.trunc(wheeled / WHEEL_NOTCH);
    wheeled -= notches * WHEEL_NOTCH;
    if (notches) moveTo(across, state.position[across] - notches);
  }, { passive: false });
}

function drawPlane(plane) {
  const { across, right, down, pictures } = plane;
  const { original, decoded, experts } = volumes;
  const [columns, rows] = [counts[right], counts[down]];
  const start = state.position[across] * strides[across] + state.volume * strides[3];
  const overlaid = experts && state.overlay;
  const alpha = state.opacity;
  for (let row = 0, target = 0; row < rows; row++) {
    const line = down === UP ? rows - 1 - row : row;
    let source = start + line * strides[down];
    for (let column = 0; column < columns; column++, target++, source += strides[right]) {
      const before = original[source];
      const after = decoded[source];
      pictures.original.pixels[target] = grey[before];
      pictures.error.pixels[target] = heat[before > after ? before - after : after - before];
      let shown = grey[after];
      if (overlaid) {
        const [red, green, blue] = EXPERT_COLOURS[experts[source] % EXPERT_COLOURS.length];
        const shade = (shown & 255) * (1 - alpha);
        shown = pixel(shade + alpha * red, shade + alpha * green, shade + alpha * blue);
      }
      pictures.decoded.pixels[target] = shown;
    }
  }
  for (const kind of KINDS) pictures[kind].context.putImageData(pictures[kind].image, 0, 0);
  const left = (state.position[right] + 0.5) / columns;
  const top = (state.position[down] + 0.5) / rows;
  for (const [vertical, horizontal] of plane.crosses) {
    vertical.style.left = `${100 * left}%`;
    horizontal.style.top = `${100 * (down === UP ? 1 - top : top)}%`;
    vertical.hidden = horizontal.hidden = !state.crosshair;
  }
  const place = `${axes[across].name} = ${voxel(across, state.position[across])}`;
  plane.slider.value = state.position[across];
  plane.label.value = `${place} of ${axes[across].voxels}`;
  plane.slider.setAttribute("aria-valuetext", plane.label.value);
}

// Controls.

const logarithmic = (low, high) => ({
  toValue: (slider) => rounded(low * (high / low) ** (slider / SLIDER_STEPS)),
  toSlider: (value) => SLIDER_STEPS * Math.log(clamp(value, low, high) / low) / Math.log(high / low),
});
const linear = (low, high) => ({
  toValue: (slider) => rounded(low + ((high - low) * slider) / SLIDER_STEPS),
  toSlider: (value) => (SLIDER_STEPS * (value - low)) / (high - low),
});

/** A slider beside a field for the exact number. */
function makeField(id, name, scale, isValid, set) {
  const [slider, field] = [byId(`${id}-slider`), byId(id)];
  Object.assign(slider, { min: 0, max: SLIDER_STEPS, step: 1 });
  slider.setAttribute("aria-label", name);
  slider.addEventListener("input", () => set(scale.toValue(slider.valueAsNumber)));
  field.addEventListener("input", () => {
    if (isValid(field.valueAsNumber)) set(field.valueAsNumber);
  });
  return (value) => {
    slider.value = scale.toSlider(value);
    slider.setAttribute("aria-valuetext", withUnit(value));
    if (field !== document.activeElement) field.value = rounded(value);
  };
}

const isPositive = (value) => Number.isFinite(value) && value > 0;
const showCentre = makeField(
  "centre", "Window centre", linear(ends[0], ends[0] + span), Number.isFinite,
  (centre) => setWindow(centre, state.width),
);
const showWidth = makeField(
  "width", "Window width", logarithmic(Math.min(smallest, span / 2), 2 * span), isPositive,
  (width) => setWindow(state.centre, width),
);
const showError = makeField(
  "error", "Error with the brightest colour",
  logarithmic(Math.min(smallest, view.errorMaximum / 10), Math.max(2 * view.errorMaximum, view.errorLargest)),
  isPositive, (maximum) => changed(() => { state.error = maximum; }),
);

function setWindow(centre, width) {
  changed(() => Object.assign(state, { centre, width }));
}

function moveTo(axis, sample) {
  state.position[axis] = clamp(sample, 0, counts[axis] - 1);
  changed();
}

const presets = { Auto: view.window.auto, ...view.window.presets?.windows };
const presetButtons = Object.entries(presets).map(([name, [centre, width]]) => {
  const button = element("button", { type: "button" }, name);
  button.title = `centre ${readable(centre)}, width ${readable(width)}`;
  button.addEventListener("click", () => setWindow(centre, width));
  byId("presets").append(button);
  return { button, centre, width };
});

function makeLayouts(planes) {
  const names = ["All", ...planes.map((plane) => plane.name)];
  const buttons = names.map((name) => element("button", { type: "button" }, name));
  const choose = (chosen) => {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", i === chosen));
    planes.forEach((plane, i) => { plane.section.hidden = chosen > 0 && i !== chosen - 1; });
    byId("planes").classList.toggle("single", chosen > 0);
  };
  buttons.forEach((button, i) => button.addEventListener("click", () => choose(i)));
  byId("layouts").append(...buttons);
  byId("layout-group").hidden = planes.length === 1;
  choose(planes.length === 1 ? 1 : 0);
}

function makeControls(planes) {
  makeLayouts(planes);
  byId("guessed").hidden = !view.window.presets?.guessed;
  byId("crosshair").addEventListener("change", (event) => {
    state.crosshair = event.target.checked;
    changed();
  });
  if (view.volumes.samples > 1) {
    byId("volume-group").hidden = false;
    byId("volume").max = view.volumes.samples - 1;
    byId("volume").addEventListener("input", (event) => {
      state.volume = event.target.valueAsNumber;
      changed();
    });
  }
  if (view.experts) {
    byId("expert-group").hidden = false;
    byId("overlay").addEventListener("change", (event) => {
      state.overlay = event.target.checked;
      changed();
    });
    byId("opacity").addEventListener("input", (event) => {
      state.opacity = event.target.valueAsNumber / 100;
      changed();
    });
    const total = view.experts.reduce((sum, count) => sum + count, 0);
    byId("legend").append(...view.experts.map((count, number) => {
      const [red, green, blue] = EXPERT_COLOURS[number % EXPERT_COLOURS.length];
      const fill = `rgb(${red}, ${green}, ${blue})`;
      const swatch = shape("svg", { viewBox: "0 0 1 1", "aria-hidden": "true" },
        shape("rect", { width: 1, height: 1, fill }));
      return element("li", {}, swatch, `${number + 1}: ${(100 * count / total).toFixed(1)} %`);
    }));
  }
}

function showControls() {
  showCentre(state.centre);
  showWidth(state.width);
  showError(state.error);
  for (const { button, centre, width } of presetButtons) {
    button.setAttribute("aria-pressed", centre === state.centre && width === state.width);
  }
  byId("black").textContent = withUnit(state.centre - state.width / 2);
  byId("white").textContent = withUnit(state.centre + state.width / 2);
  byId("brightest").textContent = `${withUnit(state.error)} and above`;
  byId("volume").value = state.volume;
  byId("volume-label").value = `${state.volume * view.volumes.stride} of ${view.volumes.voxels}`;
  byId("volume").setAttribute("aria-valuetext", byId("volume-label").value);
  byId("opacity-label").value = `${Math.round(100 * state.opacity)} %`;
}

function showReadout() {
  const place = state.position.map((sample, axis) => [axes[axis].file, voxel(axis, sample)])
    .sort(([a], [b]) => a - b).map(([, index]) => index);
  const sample = state.position.reduce(
    (sum, index, axis) => sum + index * strides[axis], state.volume * strides[3],
  );
  const [before, after] = [volumes.original[sample], volumes.decoded[sample]];
  const rows = [["voxel", place.join(", ")]];
  if (view.affine) {
    const point = view.affine.map(([a, b, c, d]) => a * place[0] + b * place[1] + c * place[2] + d);
    const sides = point.map((at, axis) => `${"RAS LPI"[axis + (at < 0 ? 4 : 0)]}\u00a0${Math.abs(at).toFixed(1)}`);
    rows.push([view.lengthUnit, sides.join(", ")]);
  }
  rows.push(["original", withUnit(valueOf(before))], ["decoded", withUnit(valueOf(after))]);
  rows.push(["error", withUnit(levels.step * (after - before))]);
  if (volumes.experts) rows.push(["expert", String(volumes.experts[sample] + 1)]);
  byId("readout").replaceChildren(...rows.map(([name, text]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, text))));
}

// Charts.

const CHART = { width: 420, height: 170, left: 46, right: 10, top: 22, bottom: 30 };

function ticks(low, high, most, least = 0) {
  const rough = Math.max((high - low) / most || 1, least);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((s) => s >= rough * (1 - 1e-9));
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(last - first + 1, 0) }, (_, i) => rounded((first + i) * step));
}

/** Axes of a chart: a group to draw in, and functions from values to places in it. */
function makeChart(title, xEnds, yEnds, yTicks, xTitle, leastStep) {
  const { width, height, left, right, top, bottom } = CHART;
  const toX = (x) => left + ((width - left - right) * (x - xEnds[0])) / (xEnds[1] - xEnds[0] || 1);
  const toY = (y) => height - bottom - ((height - top - bottom) * (y - yEnds[0])) / (yEnds[1] - yEnds[0] || 1);
  const svg = shape("svg", {
    class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title,
  });
  svg.append(shape("text", { class: "title", x: left, y: 13 }, title));
  for (const [y, text] of yTicks) {
    svg.append(shape("line", { class: "grid", x1: left, x2: width - right, y1: toY(y), y2: toY(y) }));
    svg.append(shape("text", { x: left - 6, y: toY(y) + 4, "text-anchor": "end" }, text));
  }
  for (const x of ticks(...xEnds, 6, leastStep)) {
    svg.append(shape("text", { x: toX(x), y: height - bottom + 14, "text-anchor": "middle" }, readable(x)));
  }
  svg.append(shape("text", { x: width - right, y: height - 3, "text-anchor": "end" }, xTitle));
  return { svg, toX, toY };
}

/** A path through the values that there are. */
function pathThrough(curve, toX, toY) {
  let path = "";
  curve.forEach((value, i) => {
    if (value === null) return;
    const isFirst = i === 0 || curve[i - 1] === null;
    path += `${isFirst ? "M" : "L"}${toX(i).toFixed(1)} ${toY(value).toFixed(1)}`;
    if (isFirst) path += "h0.01"; // a slice between equal ones is a dot
  });
  return path;
}

/** A curve of PSNR with a marker; null stands for equal slices, which have no PSNR. The foreground's,
    where there is one, is a second line. */
function makeCurve(title, curve, foreground, xTitle, onPick) {
  const finite = [...curve, ...(foreground ?? [])].filter((value) => value !== null);
  const allEqual = !finite.length;
  if (allEqual) finite.push(0);
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  const margin = Math.max((high - low) * 0.08, 0.1);
  const yEnds = [low - margin, high + margin];
  const yTicks = allEqual ? [] : ticks(...yEnds, 4).map((y) => [y, readable(y)]);
  const { svg, toX, toY } = makeChart(title, [0, curve.length - 1], yEnds, yTicks, xTitle, 1);
  if (view.psnr !== null && view.psnr > yEnds[0] && view.psnr < yEnds[1]) {
    const y = toY(view.psnr);
    svg.append(shape("line", { class: "whole", x1: CHART.left, x2: CHART.width - CHART.right, y1: y, y2: y },
      shape("title", {}, "whole volume")));
  }
  if (allEqual) {
    const x = (CHART.left + CHART.width - CHART.right) / 2;
    const y = (CHART.top + CHART.height - CHART.bottom) / 2;
    svg.append(shape("text", { x, y, "text-anchor": "middle" }, "no error in any of them"));
  }
  if (foreground) {
    svg.append(shape("path", { class: "curve foreground", d: pathThrough(foreground, toX, toY) },
      shape("title", {}, "foreground")));
    const x = (CHART.left + CHART.width - CHART.right) / 2;
    svg.append(shape("text", { class: "foreground", x, y: 13, "text-anchor": "middle" }, "dashed: foreground"));
  }
  const line = shape("line", { y1: CHART.top, y2: CHART.height - CHART.bottom });
  const dot = shape("circle", { r: 3.5 });
  const text = shape("text", { y: 13, x: CHART.width - CHART.right, "text-anchor": "end" });
  const marker = shape("g", { class: "marker" }, line, dot, text);
  svg.append(shape("path", { class: "curve", d: pathThrough(curve, toX, toY) }), marker);
  const pick = (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * CHART.width;
    const part = (x - CHART.left) / (CHART.width - CHART.left - CHART.right);
    onPick(clamp(Math.round(part * (curve.length - 1)), 0, curve.length - 1));
  };
  svg.classList.add("picks");
  svg.addEventListener("pointerdown", pick);
  svg.addEventListener("pointermove", (event) => { if (event.buttons & 1) pick(event); });
  byId("slice-charts").append(svg);
  return (index) => {
    const value = curve[index];
    line.setAttribute("x1", toX(index));
    line.setAttribute("x2", toX(index));
    dot.setAttribute("cx", toX(index));
    dot.setAttribute("cy", value === null ? CHART.top : toY(value));
    marker.dataset.index = index;
    text.textContent = `${index}: ${value === null ? "exact" : `${value.toFixed(2)} dB`}`;
  };
}

function makeCurves(planes) {
  const updates = planes.filter(({ across }) => counts[across] > 1).map(({ name, across }) => {
    const { file, name: letter } = axes[across];
    const foreground = view.foreground?.slicePsnr[file];
    const update = makeCurve(`${name}, dB`, view.whole.slicePsnr[file], foreground, letter, (index) => moveTo(across, sampleAt(across, index)));
    return () => update(voxel(across, state.position[across]));
  });
  if (view.whole.volumePsnr?.length > 1) {
    const { samples, stride } = view.volumes;
    const { whole, foreground } = view;
    const update = makeCurve("Volumes, dB", whole.volumePsnr, foreground?.volumePsnr, "t", (index) => {
      state.volume = clamp(Math.round(index / stride), 0, samples - 1);
      changed();
    });
    updates.push(() => update(state.volume * stride));
  }
  byId("slice-charts").closest("section").hidden = !updates.length;
  return () => updates.forEach((update) => update());
}

function makeHistogram() {
  if (!view.histogram) {
    byId("histogram").textContent = "No errors to show.";
    return;
  }
  const { first, width, counts: heights } = view.histogram;
  const xEnds = [first - width / 2, first + (heights.length - 0.5) * width];
  const top = Math.ceil(Math.log10(Math.max(...heights)));
  const every = Math.ceil((top + 1) / 6);
  const yTicks = [];
  for (let power = 0; power <= top; power += every) {
    yTicks.push([power, power < 3 ? 10 ** power : `${10 ** (power % 3)}${["", "k", "M", "G", "T"][Math.floor(power / 3)]}`]);
  }
  const { svg, toX, toY } = makeChart(
    "Voxels by error", xEnds, [-0.3, Math.max(top, 1)], yTicks, "decoded \u2212 original, stored values",
  );
  const bars = heights.map((count, i) => {
    if (!count) return "";
    const left = toX(first + (i - 0.5) * width);
    const right = toX(first + (i + 0.5) * width);
    return `M${left.toFixed(2)} ${toY(-0.3)}V${toY(Math.log10(count)).toFixed(2)}H${right.toFixed(2)}V${toY(-0.3)}Z`;
  });
  svg.append(shape("path", { class: "bars", d: bars.join("") }));
  svg.append(shape("line", { class: "zero", x1: toX(0), x2: toX(0), y1: CHART.top, y2: CHART.height - CHART.bottom }));
  byId("histogram").append(svg);
}

/** Power of the decoded volume and of the error by frequency, over that of the original. */
function makeSpectrum(title, spectrum) {
  const { edges, kept, error } = spectrum;
  const finite = [...kept, ...error].filter((value) => value !== null);
  if (!finite.length || edges.includes(null)) return;
  const yEnds = [0, Math.max(1, ...finite)];
  const yTicks = ticks(...yEnds, 4).map((y) => [y, `${readable(100 * y)} %`]);
  const { svg, toX, toY } = makeChart(
    title, [0, edges.at(-1)], yEnds, yTicks, `cycles/${view.spectrumUnit}`,
  );
  const curves = { kept: ["decoded", kept], lost: ["error", error] };
  Object.entries(curves).forEach(([style, [name, values]], i) => {
    let path = "";
    values.forEach((value, band) => {
      if (value === null) return;
      const x = toX((edges[band] + edges[band + 1]) / 2);
      path += `${path ? "L" : "M"}${x.toFixed(1)} ${toY(value).toFixed(1)}`;
    });
    svg.append(shape("path", { class: `curve ${style}`, d: path }));
    const x = CHART.width - CHART.right - 70 * (1 - i);
    svg.append(shape("text", { class: style, x, y: 13, "text-anchor": "end" }, name));
  });
  byId("histogram").append(svg);
}

// What is shown follows the state, once a frame.

let planes = [];
let showCurves = () => {};
let isScheduled = false;
let areTablesStale = true;

function changed(update) {
  if (update) {
    update();
    areTablesStale = true;
  }
  if (isScheduled) return;
  isScheduled = true;
  requestAnimationFrame(show);
}

function show() {
  isScheduled = false;
  if (areTablesStale) {
    fillTables();
    drawBar("error-bar", heatColour);
    areTablesStale = false;
  }
  planes.forEach(drawPlane);
  showControls();
  showReadout();
  showCurves();
}

async function start() {
  const names = Object.keys(view.streams);
  const unpacked = await Promise.all(names.map(unpack));
  volumes = Object.fromEntries(names.map((name, i) => [name, unpacked[i]]));
  // Planes that are more than a line, or else the first one.
  const flat = view.planes.filter(({ right, down }) => counts[right] > 1 && counts[down] > 1);
  planes = (flat.length ? flat : view.planes.slice(0, 1)).map(makePlane);
  const [widths, heights] = [0, 1].map((side) => planes.map((plane) => plane.size[side]));
  byId("planes").style.setProperty("--widest", Math.max(...widths));
  byId("planes").style.setProperty("--total", heights.reduce((sum, height) => sum + height));
  makeControls(planes);
  showCurves = makeCurves(planes);
  makeHistogram();
  makeSpectrum("Energy by frequency, of the original\u2019s", view.whole.spectrum);
  if (view.foreground) makeSpectrum("The same in the foreground", view.foreground.spectrum);
  drawBar("grey-bar", (part) => pixel(255 * part, 255 * part, 255 * part));
  [state.centre, state.width] = presets[view.window.presets?.first ?? "Auto"];
  byId("viewer").hidden = false;
  show();
  byId("viewer").setAttribute("aria-busy", "false");
  performance.mark("picture");
}

start().catch((error) => {
  byId("failure").hidden = false;
  byId("failure").textContent = `The pictures cannot be shown: ${error.message}. A browser of 2023 or later can.`;
  throw error;
});
