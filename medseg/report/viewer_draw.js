"use strict";
// Volumes of a page and the painting of a panel. Volumes are arrays with X fastest, turned to RAS+ (an image:
// rows, columns, 1); a label's value is the index of its class, bits of masks that may overlap, or 255, void.
const VOID = 255, NOTHING = -1;

async function unpacked(text) {
  const binary = atob(text.slice(text.indexOf(",") + 1));
  const bytes = Uint8Array.from(binary, (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function unpackedChannel(page, channel) {
  const shape = page.shape.map((n, axis) => Math.ceil(n / channel.blocks[axis]));
  const arrays = await Promise.all(channel.planes.map(async (text) => {
    const steps = await unpacked(text);
    for (let i = 0; i < steps.length; i++) if (i % shape[0]) steps[i] += steps[i - 1];
    return steps;
  }));
  return { ...channel, shape, arrays, strides: [1, shape[0], shape[0] * shape[1]] };
}

/** The channels, label maps by name, and confidence in steps of 1/255 (or null) of a page. */
async function unpackedVolumes(page) {
  const channels = await Promise.all(page.channels.map((channel) => unpackedChannel(page, channel)));
  const maps = {};
  for (const name of ["truth", "prediction"]) if (page.labels[name]) maps[name] = await unpacked(page.labels[name]);
  return { channels, maps, confidence: page.confidence ? await unpacked(page.confidence) : null };
}

const pixelRatio = () => Math.min(window.devicePixelRatio || 1, 2);

/** Functions that paint panels of a page as `state` says, and that tell what a voxel holds. */
function painterOf(page, { channels, maps, confidence }, state) {
  const strides = [1, page.shape[0], page.shape[0] * page.shape[1]];

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

  const dpr = pixelRatio;
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
    context.lineWidth = 3 * dpr();
    context.strokeStyle = "#000";
    context.fillStyle = "#dfe5ee";
    const write = (text, x, y, align, base) => {
      context.textAlign = align;
      context.textBaseline = base;
      context.strokeText(text, x, y);
      context.fillText(text, x, y);
    };
    context.font = `${size}px system-ui, sans-serif`;
    const titleEnd = pad + context.measureText(panel.title).width;
    write(panel.title, pad, pad, "left", "top");
    context.font = `600 ${size}px system-ui, sans-serif`;
    if (page.unit !== "px") {
      const [right, left] = page.sides[plane.across], [bottom, top] = page.sides[plane.down];
      write(left, pad, height / 2, "left", "middle");
      write(right, width - pad, height / 2, "right", "middle");
      write(top, width / 2, titleEnd < width / 2 - size ? pad : pad + 1.4 * size, "center", "top");
      write(bottom, width / 2, height - pad, "center", "bottom");
      drawScale(context, panel, write);
    }
  }

  function drawScale(context, panel, write) {
    const room = panel.canvas.width / panel.scale / 4;
    const length = [100, 50, 20, 10, 5, 2, 1].find((mm) => mm <= room) || 1;
    const x = 8 * dpr(), y = panel.canvas.height - 8 * dpr();
    context.fillRect(x, y, length * panel.scale, 2 * dpr());
    context.font = `${11 * dpr()}px system-ui, sans-serif`;
    write(`${length} mm`, x, y - 3 * dpr(), "left", "bottom");
  }

  return { shown, chooseShown, errorAt, extent, draw };
}
