"use strict";
// The controls of one case's viewer; viewer_draw.js paints its panels.
(async function () {
  const page = JSON.parse(document.getElementById("data").textContent);
  const [X, Y, Z] = page.shape;
  // Radiologists' view: higher indices are at the left and at the top. An image lies as its file has it.
  const planes = page.unit === "px"
    ? { image: { normal: 2, across: 1, down: 0, flip: false } }
    : {
      axial: { normal: 2, across: 0, down: 1, flip: true },
      coronal: { normal: 1, across: 0, down: 2, flip: true },
      sagittal: { normal: 0, across: 1, down: 2, flip: true },
    };
  const find = (id) => document.getElementById(id);
  const all = (selector) => Array.from(document.querySelectorAll(selector));

  if (typeof DecompressionStream === "undefined") {
    find("message").textContent = "This page needs a browser of 2023 or later (Chrome, Edge, Firefox 113, Safari 16.4).";
    return;
  }
  const volumes = await unpackedVolumes(page).catch(() => null);
  if (!volumes) {
    find("message").textContent = "The data of this page is damaged; run medseg report again.";
    return;
  }
  const { channels, maps, confidence } = volumes;

  const state = {
    at: page.start.slice(), channel: 0, layer: page.layer, truth: false, prediction: false, opacity: 0.6,
    plane: Object.keys(planes).length > 1 ? "all" : "image", side: page.unit === "px", zoom: 1, smooth: true,
    cross: true, low: 0, high: 1, hidden: new Set(), pointer: null,
  };

  const { shown, chooseShown, errorAt, extent, draw } = painterOf(page, volumes, state);
  let panels = [];

  // Panels and their sliders

  const place = (axis, index) => page.first[axis] + index * page.steps[axis];

  /** Panels side by side that are drawn largest: rows of layers, or as many as fit best. */
  function layOut() {
    const names = state.plane === "all" ? Object.keys(planes) : [state.plane];
    const layers = state.side ? page.layers : [null];
    const wanted = names.flatMap((name) => layers.map((layer) => ({ name, layer })));
    const stage = find("stage"), top = stage.getBoundingClientRect().top + window.scrollY;
    const free = Math.max(window.innerHeight - top - find("below").offsetHeight - 16, 220);
    const cellOf = (columns) => {
      const rows = Math.ceil(wanted.length / columns), width = Math.floor((stage.clientWidth + 4) / columns) - 4;
      return { columns, width, height: Math.max(Math.floor(free / rows) - 4, 150) };
    };
    const fit = (plane, cell) => Math.min(cell.width / extent(plane.across), cell.height / extent(plane.down));
    const fitAll = (cell) => Math.min(...names.map((name) => fit(planes[name], cell)));
    const grid = names.length > 1 && state.side;
    const choices = grid && window.innerWidth >= 700 ? [layers.length] : wanted.map((_, i) => i + 1);
    const cell = choices.map(cellOf).reduce((best, one) => fitAll(one) > fitAll(best) ? one : best);
    stage.style.gridTemplateColumns = `repeat(${cell.columns}, 1fr)`;
    while (stage.children.length > wanted.length) stage.lastChild.remove();
    while (stage.children.length < wanted.length) stage.append(newCanvas());
    const scale = fitAll(cell) * pixelRatio() * state.zoom;
    panels = wanted.map(({ name, layer }, i) => {
      const canvas = stage.children[i];
      canvas.width = Math.round(cell.width * pixelRatio());
      canvas.height = Math.round(cell.height * pixelRatio());
      canvas.style.width = `${cell.width}px`;
      canvas.style.height = `${cell.height}px`;
      canvas.dataset.plane = name;
      canvas.dataset.layer = layer || "";
      return { canvas, name, plane: planes[name], layer, scale };
    });
    all(".slice").forEach((box) => { box.hidden = page.unit === "px" || !names.includes(box.dataset.plane); });
    redraw();
  }

  function newCanvas() {
    const canvas = document.createElement("canvas");
    canvas.tabIndex = 0;
    const panelOf = () => panels.find((panel) => panel.canvas === canvas);
    canvas.addEventListener("pointermove", (event) => {
      state.pointer = voxelAt(panelOf(), event);
      if (event.buttons & 1 && state.pointer) moveTo(state.pointer);
      read();
    });
    canvas.addEventListener("pointerleave", () => { state.pointer = null; read(); });
    canvas.addEventListener("pointerdown", (event) => {
      const voxel = voxelAt(panelOf(), event);
      if (event.button === 0 && voxel) moveTo(voxel);
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.ctrlKey) setZoom(state.zoom * (event.deltaY < 0 ? 1.25 : 0.8));
      else step(panelOf().plane.normal, event.deltaY < 0 ? 1 : -1);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const move = { ArrowUp: 1, ArrowRight: 1, PageUp: 10, ArrowDown: -1, ArrowLeft: -1, PageDown: -10 }[event.key];
      if (move) { event.preventDefault(); step(panelOf().plane.normal, move); }
    });
    return canvas;
  }

  function voxelAt(panel, event) {
    const box = panel.canvas.getBoundingClientRect(), ratio = panel.canvas.width / box.width;
    const across = panel.x.voxels[Math.floor((event.clientX - box.left) * ratio)];
    const down = panel.y.voxels[Math.floor((event.clientY - box.top) * ratio)];
    if (!(across >= 0) || !(down >= 0)) return null;
    const voxel = state.at.slice();
    voxel[panel.plane.across] = across;
    voxel[panel.plane.down] = down;
    return voxel;
  }

  function moveTo(voxel) {
    state.at = voxel.map((v, axis) => Math.min(Math.max(Math.round(v), 0), page.shape[axis] - 1));
    redraw();
  }

  function step(axis, by) {
    const voxel = state.at.slice();
    voxel[axis] += by;
    if (state.pointer) state.pointer[axis] = Math.min(Math.max(voxel[axis], 0), page.shape[axis] - 1);
    moveTo(voxel);
  }

  function setZoom(zoom) {
    state.zoom = Math.min(Math.max(zoom, 1), 8);
    find("zoom").value = state.zoom;
    layOut();
  }

  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      for (const panel of panels) {
        const kind = panel.layer === "none" ? "image" : panel.layer;
        const slice = page.unit === "px" ? "" : `${panel.name} ${place(panel.plane.normal, state.at[panel.plane.normal])}`;
        panel.title = [slice, kind].filter(Boolean).join(" · ");
        draw(panel);
      }
      all(".slice").forEach((box) => {
        const axis = planes[box.dataset.plane].normal;
        box.querySelector("input").value = state.at[axis];
        box.querySelector("output").textContent = `${place(axis, state.at[axis])}`;
        drawProfile(box, axis);
      });
      read();
      document.body.dataset.drawn = Number(document.body.dataset.drawn || 0) + 1;
    });
  }

  // Errors and foreground of each slice

  let profile = null;
  function measure() {
    const count = () => page.shape.map((n) => new Float64Array(n));
    const found = { labelled: count(), errors: count() }, both = maps.truth && maps.prediction;
    const label = (map, i) => map && map[i] !== VOID && shown[map[i]] !== NOTHING;
    for (let z = 0, i = 0; z < Z; z++) {
      for (let y = 0; y < Y; y++) {
        for (let x = 0; x < X; x++, i++) {
          if (!label(maps.truth, i) && !label(maps.prediction, i)) continue;
          found.labelled[0][x]++;
          found.labelled[1][y]++;
          found.labelled[2][z]++;
          if (!both || !errorAt(i)) continue;
          found.errors[0][x]++;
          found.errors[1][y]++;
          found.errors[2][z]++;
        }
      }
    }
    profile = found;
  }

  /** Bars of a slice's labelled voxels and, in front of them, of its errors, each beside its own maximum. */
  function drawProfile(box, axis) {
    const canvas = box.querySelector("canvas"), inset = 8;
    if (!profile || box.hidden) return;
    const width = canvas.width = canvas.clientWidth, height = canvas.height = canvas.clientHeight;
    const context = canvas.getContext("2d"), bar = (width - 2 * inset) / page.shape[axis];
    for (const [kind, colour, share] of [["labelled", "#323c4d", 1], ["errors", "#ff6b5e", 0.7]]) {
      const values = profile[kind][axis], most = Math.max(...values, 1);
      context.fillStyle = colour;
      values.forEach((v, i) => {
        const high = share * height * v / most;
        context.fillRect(inset + i * bar, height - high, Math.max(bar, 1), high);
      });
    }
  }

  // What lies under the pointer, or at the cross

  function read() {
    const voxel = state.pointer || state.at, at = voxel[0] + X * (voxel[1] + Y * voxel[2]);
    const file = voxel.map((v, axis) => place(axis, v));
    const parts = [page.unit === "px" ? `row ${file[0]}, column ${file[1]}` : `voxel ${file.join(", ")}`];
    if (page.unit !== "px") parts.push(millimetres(voxel));
    channels.forEach((channel) => parts.push(`${channel.name} ${greyAt(channel, voxel)}`));
    for (const name of Object.keys(maps)) parts.push(`${name}: ${nameOf(maps[name][at])}`);
    if (confidence) parts.push(`confidence ${(confidence[at] / 255).toFixed(2)}`);
    const output = find("readout");
    output.textContent = parts.join(" · ");
    output.dataset.voxel = file.join(",");
  }

  function millimetres(voxel) {
    const ends = [["R", "L"], ["A", "P"], ["S", "I"]];
    return page.affine.map((row, axis) => {
      const mm = row[0] * voxel[0] + row[1] * voxel[1] + row[2] * voxel[2] + row[3];
      return `${ends[axis][mm < 0 ? 1 : 0]} ${Math.abs(mm).toFixed(1)}`;
    }).join(", ") + " mm";
  }

  function greyAt(channel, voxel) {
    const at = voxel.reduce((sum, v, axis) => sum + Math.floor(v / channel.blocks[axis]) * channel.strides[axis], 0);
    const values = channel.arrays.map((steps) => channel.low + steps[at] / (channel.levels - 1) * (channel.high - channel.low));
    const digits = channel.high - channel.low >= 100 ? 0 : channel.high - channel.low >= 10 ? 1 : 2;
    return (page.exact ? "" : "≈ ") + values.map((v) => v.toFixed(digits)).join(" ");
  }

  function nameOf(value) {
    if (value === VOID) return "void";
    if (!page.multilabel) return page.names[value];
    return page.names.filter((_, index) => value >> index & 1).join(" + ") || "outside";
  }

  // Controls

  function onInput(id, act) {
    const element = find(id);
    if (element) element.addEventListener("input", () => { act(element); redraw(); });
  }

  onInput("opacity", (e) => { state.opacity = e.value / 100; });
  onInput("low", (e) => { state.low = Math.min(e.value / 1000, state.high - 0.005); });
  onInput("high", (e) => { state.high = Math.max(e.value / 1000, state.low + 0.005); });
  onInput("smooth", (e) => { state.smooth = e.checked; });
  onInput("cross", (e) => { state.cross = e.checked; });
  onInput("outline-truth", (e) => { state.truth = e.checked; });
  onInput("outline-prediction", (e) => { state.prediction = e.checked; });
  onInput("channel", (e) => { chooseChannel(Number(e.value)); });
  find("zoom").addEventListener("input", (event) => setZoom(Number(event.target.value)));
  find("side").addEventListener("input", (event) => { state.side = event.target.checked; layOut(); });
  all("input[name=layer]").forEach((input) => input.addEventListener("input", () => { state.layer = input.value; redraw(); }));
  all("input[name=plane]").forEach((input) => input.addEventListener("input", () => { state.plane = input.value; layOut(); }));
  all("input[name=class]").forEach((input) => input.addEventListener("input", () => {
    const index = Number(input.value);
    if (input.checked) state.hidden.delete(index); else state.hidden.add(index);
    chooseShown();
    measure();
    redraw();
  }));
  all(".slice").forEach((box) => {
    const axis = planes[box.dataset.plane].normal, slider = box.querySelector("input");
    slider.max = page.shape[axis] - 1;
    slider.addEventListener("input", () => step(axis, Number(slider.value) - state.at[axis]));
  });
  const worst = find("worst");
  if (worst) {
    worst.addEventListener("click", () => {
      moveTo(profile.errors.map((counts, axis) => Math.max(...counts) ? counts.indexOf(Math.max(...counts)) : state.at[axis]));
    });
  }
  document.addEventListener("keydown", (event) => {
    const inputs = all("input[name=layer]"), input = inputs[Number(event.key) - 1];
    if (input && !event.ctrlKey && !event.metaKey && !event.altKey) input.click();
  });
  window.addEventListener("resize", layOut);

  function chooseChannel(number) {
    state.channel = number;
    [state.low, state.high] = channels[number].window;
    find("low").value = Math.round(1000 * state.low);
    find("high").value = Math.round(1000 * state.high);
  }

  all("input[name=layer]").forEach((input) => { input.checked = input.value === state.layer; });
  find("message").remove();
  find("side").checked = state.side;
  chooseChannel(0);
  chooseShown();
  layOut();
  setTimeout(() => { measure(); redraw(); }, 0);
})();
