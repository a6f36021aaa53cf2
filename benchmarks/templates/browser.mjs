// The page: runs the jobs one after the other, shows boxes and times, and posts the results back.

const COLOURS = ["#e4572e", "#2e86ab", "#59a14f", "#b07aa1", "#f2a541", "#17becf", "#d4537e", "#7a6a53"];
const DRAWN_FROM = 0.3; // score; files are often exported with a lower one, whose boxes would hide the picture
const LONGEST_MS = 15 * 60e3; // a frame that says nothing for so long is given up

const session = crypto.getRandomValues(new Uint32Array(2)).join("-"); // a page that is opened again starts again

const page = (id) => document.getElementById(id);

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

/** What the browser tells about itself. */
async function describe() {
  const hints = ["model", "platform", "platformVersion"];
  const told = (await navigator.userAgentData?.getHighEntropyValues(hints).catch(() => null)) ?? {};
  return {
    user_agent: navigator.userAgent,
    model: told.model || "",
    platform: [told.platform || navigator.platform, told.platformVersion].filter(Boolean).join(" "),
    cores: navigator.hardwareConcurrency || 1,
    memory_gib: navigator.deviceMemory ?? null,
    secure: isSecureContext,
    isolated: crossOriginIsolated,
    clock_step_ms: clockStep(),
    webgpu: await webgpu(),
  };
}

/** Smallest step of the clock that was seen. */
function clockStep() {
  let smallest = Infinity;
  for (let k = 0, last = performance.now(); k < 50; ) {
    const now = performance.now();
    if (now === last) continue;
    smallest = Math.min(smallest, now - last);
    last = now;
    k++;
  }
  return smallest;
}

/** {there, text}: the adapter's name, or why there is none. */
async function webgpu() {
  if (!navigator.gpu) {
    const why = isSecureContext ? "this browser has none" : "browsers offer it to https pages only";
    return { there: false, text: why };
  }
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  if (!adapter) return { there: false, text: "no adapter" };
  const { vendor, architecture, description } = adapter.info ?? {};
  return { there: true, text: [vendor, architecture, description].filter(Boolean).join(" ") || "unnamed adapter" };
}

/** One job in a frame of its own. */
function runJob(number, state) {
  return new Promise((resolve) => {
    const frame = element("iframe");
    const finish = (result) => {
      clearTimeout(timer);
      removeEventListener("message", listen);
      frame.remove();
      resolve(result);
    };
    const giveUp = () => finish({ job: number, status: "not run", reason: "the page heard nothing for 15 minutes" });
    let timer = setTimeout(giveUp, LONGEST_MS);
    const listen = ({ source, origin, data }) => {
      if (source !== frame.contentWindow || origin !== location.origin) return;
      clearTimeout(timer);
      timer = setTimeout(giveUp, LONGEST_MS);
      if (data.kind === "result") finish(data.result);
      else state(data);
    };
    addEventListener("message", listen);
    frame.src = `browser_job.html?job=${number}`;
    document.body.append(frame);
  });
}

async function post(url, value) {
  const headers = { "Content-Type": "application/json" };
  const body = JSON.stringify({ session, ...value });
  const response = await fetch(url, { method: "POST", headers, body });
  if (!response.ok) throw new Error(`edgedet did not take the result: ${response.status} ${await response.text()}`);
}

function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.round((sorted.length - 1) * share)];
}

function card(job) {
  const made = element("section");
  const title = element("h2", job.file);
  const badge = element("span", job.backend === "webgpu" ? "WebGPU" : "WebAssembly", "badge");
  title.append(badge);
  const state = element("p", "waiting", "state");
  const bar = element("progress");
  bar.value = 0;
  made.append(title, state, bar);
  page("jobs").append(made);
  return { made, state, bar };
}

function showResult({ made, state, bar }, job, result) {
  bar.remove();
  if (result.status !== "measured") {
    state.textContent = `not run: ${result.reason}`;
    made.classList.add("absent");
    return;
  }
  state.textContent = `${result.runtime}, ${result.threads} thread${result.threads > 1 ? "s" : ""}`;
  const figures = element("dl", "", "figures");
  const rows = [["load", result.load_ms], ["first", result.first_ms], ["p50", quantile(result.runs_ms, 0.5)], ["p90", quantile(result.runs_ms, 0.9)]];
  for (const [name, ms] of rows) {
    const pair = element("div");
    const value = element("dd", ms.toFixed(ms < 100 ? 2 : 0));
    value.append(element("small", " ms"));
    pair.append(element("dt", name), value);
    figures.append(pair);
  }
  const gallery = element("div", "", "gallery");
  made.append(figures, element("p", `${result.runs_ms.length} runs, warm-up included`, "remark"), gallery);
  result.detections.forEach((found, k) => gallery.append(picture(job, k, found)));
}

function picture(job, k, found) {
  const { url, name, width, height } = job.pictures[k];
  const figure = element("figure");
  const canvas = element("canvas");
  const image = new Image();
  const drawn = found.scores.filter((score) => score >= DRAWN_FROM).length;
  const counted = `${drawn} drawn from score ${DRAWN_FROM}, ${found.scores.length} found`;
  canvas.width = width;
  canvas.height = height;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${name}: ${counted}`);
  image.onload = () => {
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0, width, height);
    for (let row = drawn - 1; row >= 0; row--) draw(context, job, k, found, row); // the best on top
  };
  image.src = url;
  figure.append(canvas, element("figcaption", `${name} · ${counted}`));
  return figure;
}

/** A box of the network's input where it lies in the picture. */
function draw(context, job, k, found, row) {
  const { width, height } = context.canvas;
  const [x0, y0, w, h] = job.pictures[k].placed_unit;
  const [left, top, right, bottom] = found.boxes_xyxy_unit[row];
  const x = ((left - x0) / w) * width;
  const y = ((top - y0) / h) * height;
  const unit = Math.max(width, height) / 320;
  const colour = COLOURS[found.class_ids[row] % COLOURS.length];
  const label = `${job.labels[found.class_ids[row]]} ${Math.round(found.scores[row] * 100)}`;
  context.lineWidth = 2 * unit;
  context.strokeStyle = context.fillStyle = colour;
  context.strokeRect(x, y, ((right - left) / w) * width, ((bottom - top) / h) * height);
  context.font = `600 ${11 * unit}px system-ui, sans-serif`;
  const textWidth = context.measureText(label).width + 6 * unit;
  const textX = Math.min(Math.max(x, 0), width - textWidth);
  const textY = Math.max(y - 14 * unit, 0);
  context.fillRect(textX, textY, textWidth, 14 * unit);
  context.fillStyle = "#fff";
  context.fillText(label, textX + 3 * unit, textY + 10.5 * unit);
}

async function keepAwake() {
  try {
    await navigator.wakeLock?.request("screen"); // a phone that sleeps measures nothing
  } catch {
    page("hint").textContent = "Keep the screen on until all is done.";
  }
}

async function main() {
  const response = await fetch("jobs.json");
  if (!response.ok) throw new Error(`jobs.json: ${response.status}`);
  const { jobs } = await response.json();
  const browser = await describe();
  const isolated = browser.isolated ? "threads allowed" : "one thread: this page is not isolated";
  page("about").textContent =
    `${browser.model || browser.platform} · ${browser.cores} cores · ${isolated} · WebGPU: ${browser.webgpu.text}`;
  await keepAwake();
  await post("browser", browser);
  const wanted = jobs.filter((job) => !job.optional || browser.webgpu.there);
  const cards = wanted.map(card);
  for (const [k, job] of wanted.entries()) {
    page("status").textContent = `Running ${k + 1} of ${wanted.length}`;
    const show = ({ text, share }) => {
      cards[k].state.textContent = text;
      cards[k].bar.value = share;
    };
    const result =
      job.backend === "webgpu" && !browser.webgpu.there
        ? { job: job.number, status: "not run", reason: `WebGPU is not there: ${browser.webgpu.text}` }
        : await runJob(job.number, show);
    showResult(cards[k], job, result);
    await post("result", result).catch((error) =>
      post("result", { job: job.number, status: "not run", reason: `its result could not be sent (${error.message})` }),
    );
  }
  await post("done", { results: wanted.length });
  page("status").textContent = "Done. The results are on the computer; this page can be closed.";
  document.body.classList.add("done");
}

main().catch((error) => {
  page("status").textContent = `Stopped: ${error.message ?? error}`;
  document.body.classList.add("failed");
});
