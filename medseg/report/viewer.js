"use strict";
// The viewer of one case. Volumes are arrays with X fastest, turned to RAS+ (an image: rows, columns, 1);
// a label's value is the index of its class, bits of masks that may overlap, or 255 for void.
(async function () {
  const page = JSON.parse(document.getElementById("data").textContent);
  const [X, Y, Z] = page.shape, VOID = 255, NOTHING = -1;
  const strides = [1, X, X * Y];
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

  async function unpacked(text) {
    const binary = atob(text.slice(text.indexOf(",") + 1));
    const bytes = Uint8Array.from(binary, (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async function greyOf(channel) {
    const shape = page.shape.map((n, axis) => Math.ceil(n / channel.blocks[axis]));
    const arrays = await Promise.all(channel.planes.map(async (text) => {
      const steps = await unpacked(text);
      for (let i = 0; i < steps.length; i++) if (i % shape[0]) steps[i] += steps[i - 1];
      return steps;
    }));
    return { ...channel, shape, arrays, strides: [1, shape[0], shape[0] * shape[1]] };
  }

  if (typeof DecompressionStream === "undefined") {
    find("message").textContent = "This page needs a browser of 2023 or later (Chrome, Edge, Firefox 113, Safari 16.4).";
    return;
  }
  const channels = [];
  const maps = {};
  let confidence = null;
  try {
    for (const channel of page.channels) channels.push(await greyOf(channel));
    for (const name of Object.keys(page.labels)) maps[name] = await unpacked(page.labels[name]);
    if (page.confidence) confidence = await unpacked(page.confidence);
  } catch (error) {
    find("message").textContent = "The data of this page is damaged; run medseg report again.";
    return;
  }

  const state = {
    at: page.start.slice(), channel: 0, layer: page.layer, truth: false, prediction: false, opacity: 0.6,
    plane: Object.keys(planes).length > 1 ? "all" : "image", side: page.unit === "px", zoom: 1, smooth: true,
    cross: true, low: 0, high: 1, hidden: new Set(), pointer: null,
  };

  // Labels

  /** Value of a label map → class index, bits of the masks shown, VOID, or NOTHING where nothing is shown. */
  const shown = new Int16Array(256);
  function chooseShown() {
    const bits = page.classes.reduce((sum, c) => sum | (state.hidden.has(c.index) ? 0 : 1 << c.index), 0);
    const known = new Set(page.classes.map((c) => c.index));
    for (let v = 0; v < 256; v++) {
      if (v === VOID) shown[v] = state.hidden.has(VOID) ? NOTHING : VOID;
      else if (page.multilabel) shown[v] = v & bits || NOTHING;
      else shown[v] = known.has(v) && !state.hidden.has(v) ? v : NOTHING;
    }
  }

  const colours = new Map(page.classes.map((c) => [c.index, c.colour]));
  colours.set(VOID, page.void_colour);

  /** 1, 2, 3 as in the legend of errors; 0 for none. Void in the truth counts as no error. */
  function errorAt(i) {
    if (maps.truth[i] === VOID) return 0;
    const t = shown[maps.truth[i]];
    const p = page.background && maps.prediction[i] === VOID ? NOTHING : shown[maps.prediction[i]];
    if (t === p) return 0;
    if (!page.background) return 3;
    return t === NOTHING ? 1 : p === NOTHING ? 2 : 3;
  }

  /** Share in steps of 1/255 → colour from black over orange to white, as in the report's figures. */
  function warm(step) {
    const s = step / 255, clip = (v) => 255 * Math.min(1, Math.max(0, v));
    return [clip(1.7 * s), clip(1.25 * s - 0.25 * (1 - s)), clip(s - 0.35 * (1 - s))];
  }
  const warmth = Array.from({ length: 256 }, (_, step) => warm(step));

  // Drawing

  let panels = [];
  const dpr = () => Math.min(window.devicePixelRatio || 1, 2);
  const extent = (axis) => page.shape[axis] * page.spacing[axis];

  /** For each pixel along one side of a panel the voxel there (-1 outside), and its position in voxels. */
  function ruler(axis, pixels, scale, flip) {
    const half = pixels / scale / 2, length = extent(axis);
    const here = (state.at[axis] + 0.5) * page.spacing[axis], centre = flip ? length - here : here;
    const middle = half * 2 >= length ? length / 2 : Math.min(Math.max(centre, half), length - half);
    const voxels = new Int32Array(pixels), positions = new Float32Array(pixels);
    for (let i = 0; i < pixels; i++) {
      const place = (middle + (i + 0.5 - pixels / 2) / scale) / page.spacing[axis];
      const position = flip ? page.shape[axis] - place : place;
      positions[i] = position;
      const voxel = Math.floor(place);
      voxels[i] = voxel < 0 || voxel >= page.shape[axis] ? -1 : flip ? page.shape[axis] - 1 - voxel : voxel;
    }
    return { voxels, positions };
  }

  /** Of each pixel the two neighbouring grey values along an axis, as offsets, and the share of the second. */
  function neighbours(channel, axis, line) {
    const n = channel.shape[axis], step = channel.strides[axis], count = line.voxels.length;
    const first = new Int32Array(count), second = new Int32Array(count), share = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      const place = line.positions[i] / channel.blocks[axis] - 0.5;
      const low = Math.floor(state.smooth ? place : place + 0.5);
      first[i] = Math.min(Math.max(low, 0), n - 1) * step;
      second[i] = Math.min(Math.max(low + 1, 0), n - 1) * step;
      share[i] = state.smooth ? place - low : 0;
    }
    return { first, second, share };
  }

  function paintGrey(pixels, plane, x, y) {
    const channel = channels[state.channel], width = x.voxels.length;
    const a = neighbours(channel, plane.across, x), d = neighbours(channel, plane.down, y);
    const slice = Math.floor(state.at[plane.normal] / channel.blocks[plane.normal]) * channel.strides[plane.normal];
    const span = Math.max(state.high - state.low, 1e-6), top = channel.levels - 1;
    channel.arrays.forEach((steps, k) => {
      for (let j = 0; j < y.voxels.length; j++) {
        if (y.voxels[j] < 0) continue;
        const upper = slice + d.first[j], lower = slice + d.second[j], v = d.share[j];
        for (let i = 0; i < width; i++) {
          if (x.voxels[i] < 0) continue;
          const u = a.share[i], l = a.first[i], r = a.second[i];
          const above = steps[upper + l] * (1 - u) + steps[upper + r] * u;
          const below = steps[lower + l] * (1 - u) + steps[lower + r] * u;
          const value = 255 * ((above * (1 - v) + below * v) / top - state.low) / span;
          const o = 4 * (j * width + i);
          if (channel.arrays.length === 1) pixels[o] = pixels[o + 1] = pixels[o + 2] = value;
          else pixels[o + k] = value;
        }
      }
    });
  }

  function blend(pixels, o, colour, share) {
    for (let k = 0; k < 3; k++) pixels[o + k] = (1 - share) * pixels[o + k] + share * colour[k];
  }

  function paintLayer(pixels, layer, plane, x, y) {
    const width = x.voxels.length, sa = strides[plane.across], sd = strides[plane.down];
    const slice = state.at[plane.normal] * strides[plane.normal];
    for (let j = 0; j < y.voxels.length; j++) {
      if (y.voxels[j] < 0) continue;
      for (let i = 0; i < width; i++) {
        if (x.voxels[i] < 0) continue;
        const at = slice + y.voxels[j] * sd + x.voxels[i] * sa, o = 4 * (j * width + i);
        if (layer === "confidence") blend(pixels, o, warmth[confidence[at]], state.opacity);
        else if (layer === "errors") {
          for (let k = 0; k < 3; k++) pixels[o + k] *= 0.6;
          const kind = errorAt(at);
          if (kind) blend(pixels, o, page.errors[kind - 1].colour, state.opacity);
        } else paintClass(pixels, o, shown[maps[layer][at]]);
      }
    }
  }

  function paintClass(pixels, o, value) {
    if (value === NOTHING) return;
    if (value === VOID || !page.multilabel) blend(pixels, o, colours.get(value), state.opacity);
    else for (const mask of page.classes) if (value >> mask.index & 1) blend(pixels, o, mask.colour, state.opacity);
  }

  /** Lines along the inner border of each class; those of the prediction are dashed beside the truth's. */
  function paintOutlines(pixels, name, plane, x, y, dashed) {
    const width = x.voxels.length, height = y.voxels.length, thick = Math.round(dpr());
    const slice = state.at[plane.normal] * strides[plane.normal];
    const values = new Int16Array(width * height).fill(NOTHING);
    for (let j = 0; j < height; j++) {
      for (let i = 0; i < width; i++) {
        if (x.voxels[i] < 0 || y.voxels[j] < 0) continue;
        const at = slice + y.voxels[j] * strides[plane.down] + x.voxels[i] * strides[plane.across];
        values[j * width + i] = shown[maps[name][at]];
      }
    }
    const other = (i, j) => i < 0 || j < 0 || i >= width || j >= height ? null : values[j * width + i];
    for (let j = 0; j < height; j++) {
      for (let i = 0; i < width; i++) {
        const own = values[j * width + i];
        if (own === NOTHING || (dashed && Math.floor((i + j) / (4 * dpr())) % 2)) continue;
        const around = [other(i - thick, j), other(i + thick, j), other(i, j - thick), other(i, j + thick)];
        if (!page.multilabel || own === VOID) {
          if (around.some((v) => v !== null && v !== own)) blend(pixels, 4 * (j * width + i), colours.get(own), 1);
        } else {
          for (const mask of page.classes) {
            if (!(own >> mask.index & 1)) continue;
            if (around.some((v) => v !== null && (v < 0 || v === VOID || !(v >> mask.index & 1)))) {
              blend(pixels, 4 * (j * width + i), mask.colour, 1);
            }
          }
        }
      }
    }
  }

  function draw(panel) {
    const { canvas, plane } = panel, context = canvas.getContext("2d");
    const { width, height } = canvas, scale = panel.scale;
    panel.x = ruler(plane.across, width, scale, plane.flip);
    panel.y = ruler(plane.down, height, scale, plane.flip);
    const image = context.createImageData(width, height);
    for (let o = 3; o < image.data.length; o += 4) image.data[o] = 255;
    paintGrey(image.data, plane, panel.x, panel.y);
    const layer = panel.layer || state.layer;
    if (layer !== "none") paintLayer(image.data, layer, plane, panel.x, panel.y);
    for (const name of ["truth", "prediction"]) {
      if (state[name] && maps[name]) {
        paintOutlines(image.data, name, plane, panel.x, panel.y, name === "prediction" && state.truth && maps.truth);
      }
    }
    context.putImageData(image, 0, 0);
    if (state.cross && page.unit !== "px") drawCross(context, panel);
    drawLetters(context, panel);
  }

  function drawCross(context, panel) {
    const middle = (line, voxel) => {
      const first = line.voxels.indexOf(voxel), last = line.voxels.lastIndexOf(voxel);
      return first < 0 ? -9 : Math.floor((first + last) / 2) + 0.5;
    };
    const x = middle(panel.x, state.at[panel.plane.across]), y = middle(panel.y, state.at[panel.plane.down]);
    const gap = 12 * dpr(), { width, height } = panel.canvas;
    context.strokeStyle = "rgba(120, 200, 255, 0.55)";
    context.lineWidth = 1;
    context.beginPath();
    for (const [from, to] of [[0, x - gap], [x + gap, width]]) { context.moveTo(from, y); context.lineTo(to, y); }
    for (const [from, to] of [[0, y - gap], [y + gap, height]]) { context.moveTo(x, from); context.lineTo(x, to); }
    context.stroke();
  }

  function drawLetters(context, panel) {
    const { plane } = panel, { width, height } = panel.canvas, size = 13 * dpr(), pad = 4 * dpr();
    context.font = `600 ${size}px system-ui, sans-serif`;
    context.lineWidth = 3 * dpr();
    context.strokeStyle = "#000";
    context.fillStyle = "#dfe5ee";
    const write = (text, x, y, align, base) => {
      context.textAlign = align;
      context.textBaseline = base;
      context.strokeText(text, x, y);
      context.fillText(text, x, y);
    };
    if (page.unit !== "px") {
      const [right, left] = page.sides[plane.across], [bottom, top] = page.sides[plane.down];
      write(left, pad, height / 2, "left", "middle");
      write(right, width - pad, height / 2, "right", "middle");
      write(top, width / 2, pad, "center", "top");
      write(bottom, width / 2, height - pad, "center", "bottom");
      drawScale(context, panel, write);
    }
    context.font = `${size}px system-ui, sans-serif`;
    write(panel.title, pad, pad, "left", "top");
  }

  function drawScale(context, panel, write) {
    const room = panel.canvas.width / panel.scale / 4;
    const length = [100, 50, 20, 10, 5, 2, 1].find((mm) => mm <= room) || 1;
    const x = 8 * dpr(), y = panel.canvas.height - 8 * dpr();
    context.fillRect(x, y, length * panel.scale, 2 * dpr());
    context.font = `${11 * dpr()}px system-ui, sans-serif`;
    write(`${length} mm`, x, y - 3 * dpr(), "left", "bottom");
  }

  // Panels and their sliders

  const place = (axis, index) => page.first[axis] + index * page.steps[axis];

  function layOut() {
    const names = state.plane === "all" ? Object.keys(planes) : [state.plane];
    const layers = state.side ? page.layers : [null];
    const stage = find("stage"), narrow = window.innerWidth < 700;
    const columns = state.side ? (narrow ? 2 : layers.length) : narrow ? 1 : names.length;
    const rows = Math.ceil(names.length * layers.length / columns);
    stage.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
    const free = window.innerHeight - stage.getBoundingClientRect().top - window.scrollY - find("below").offsetHeight - 16;
    const cell = { width: Math.floor((stage.clientWidth - 4 * (columns - 1)) / columns), height: Math.max(narrow ? 220 : 150, Math.floor(free / rows) - 4) };
    const wanted = names.flatMap((name) => layers.map((layer) => ({ name, layer })));
    while (stage.children.length > wanted.length) stage.lastChild.remove();
    while (stage.children.length < wanted.length) stage.append(newCanvas());
    const fit = (plane) => Math.min(cell.width / extent(plane.across), cell.height / extent(plane.down));
    const scale = Math.min(...names.map((name) => fit(planes[name]))) * dpr() * state.zoom;
    panels = wanted.map(({ name, layer }, i) => {
      const canvas = stage.children[i];
      canvas.width = Math.round(cell.width * dpr());
      canvas.height = Math.round(cell.height * dpr());
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
    for (let z = 0, i = 0; z < Z; z++) {
      for (let y = 0; y < Y; y++) {
        for (let x = 0; x < X; x++, i++) {
          const labelled = Object.values(maps).some((map) => shown[map[i]] !== NOTHING && map[i] !== VOID);
          if (!labelled) continue;
          found.labelled[0][x]++; found.labelled[1][y]++; found.labelled[2][z]++;
          if (both && errorAt(i)) { found.errors[0][x]++; found.errors[1][y]++; found.errors[2][z]++; }
        }
      }
    }
    profile = found;
  }

  function drawProfile(box, axis) {
    const canvas = box.querySelector("canvas"), inset = 8;
    if (!profile || !canvas || box.hidden) return;
    const width = canvas.width = canvas.clientWidth, height = canvas.height = canvas.clientHeight;
    const context = canvas.getContext("2d"), n = page.shape[axis], bar = (width - 2 * inset) / n;
    for (const [kind, colour] of [["labelled", "#3d4a5f"], ["errors", "#ff6b5e"]]) {
      const values = profile[kind][axis], most = Math.max(...profile.labelled[axis], 1);
      context.fillStyle = colour;
      values.forEach((v, i) => context.fillRect(inset + i * bar, height * (1 - v / most), Math.max(bar, 1), height * v / most));
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
    output.textContent = parts.join("  ·  ");
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
