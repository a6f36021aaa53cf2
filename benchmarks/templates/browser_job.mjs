// One file on one backend, in a frame of its own so that nothing is left in memory for the next one. The page that
// holds the frame gets messages: {kind: "state" | "result", ...}.

import { readDetections } from "./browser_boxes.mjs";

const RUNTIMES = { onnx: "./browser_onnx.mjs", tflite: "./browser_tflite.mjs" };
const YIELD_EVERY_MS = 250; // the page shows its progress meanwhile; never within a run

const rounded = (value) => Math.round(value * 1e4) / 1e4; // finer than any browser's clock, and shorter to send
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const tell = (message) => parent.postMessage(message, location.origin);

export async function fetchBytes(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  return response.arrayBuffer();
}

async function fetchInputs({ dtype, shapes, urls }) {
  const arrays = { float32: Float32Array, uint8: Uint8Array };
  const values = [];
  for (const [k, url] of urls.entries()) {
    values.push({ dtype, shape: shapes[k], data: new arrays[dtype](await fetchBytes(url)) });
  }
  return values;
}

/** Runs until the job is fulfilled: milliseconds of each run, and when it began in seconds. */
async function record(run, inputs, { seconds, min_samples, max_samples, fps }) {
  const starts_s = [];
  const runs_ms = [];
  const begun = performance.now();
  let frame = 0;
  let shown = begun;
  for (;;) {
    const elapsed = fps ? frame / fps : (performance.now() - begun) / 1e3;
    const enough = elapsed >= seconds || (max_samples && runs_ms.length >= max_samples);
    if (runs_ms.length >= min_samples && enough) return { starts_s, runs_ms };
    if (performance.now() - shown >= YIELD_EVERY_MS) {
      tell({ kind: "state", text: `run ${runs_ms.length}`, share: Math.min(elapsed / seconds, 1) });
      await wait(0);
      shown = performance.now();
    }
    // A picture arrives every 1 / fps seconds; the newest is taken, without a new one we wait.
    while (fps && performance.now() < begun + (frame / fps) * 1e3) {
      await wait(Math.max(0, begun + (frame / fps) * 1e3 - performance.now()));
    }
    const start = performance.now();
    await run(inputs[runs_ms.length % inputs.length]);
    runs_ms.push(rounded(performance.now() - start));
    starts_s.push(rounded((start - begun) / 1e3));
    if (fps) frame = Math.max(frame + 1, Math.floor(((performance.now() - begun) / 1e3) * fps));
  }
}

async function measure(job) {
  tell({ kind: "state", text: "loading", share: 0 });
  const runtime = await import(RUNTIMES[job.format]);
  const bytes = new Uint8Array(await fetchBytes(job.url));
  const inputs = await fetchInputs(job.input);
  const context = { priors: job.priors_url ? new Float32Array(await fetchBytes(job.priors_url)) : null };
  const model = await runtime.load(job, bytes);
  const values = inputs.map(model.prepare);
  const begun = performance.now();
  await model.run(values[0]);
  const first_ms = performance.now() - begun;
  const detections = [];
  for (const value of values) detections.push(readDetections(job, await model.run(value), context));
  const { starts_s, runs_ms } = await record(model.run, values, job);
  const { name, provider, threads, load_ms, notes } = model;
  return { status: "measured", runtime: name, provider, threads, load_ms, first_ms, starts_s, runs_ms, detections, notes };
}

const number = Number(new URLSearchParams(location.search).get("job"));
const { jobs } = JSON.parse(new TextDecoder().decode(await fetchBytes("jobs.json")));
try {
  const job = jobs.find((one) => one.number === number);
  tell({ kind: "result", result: { job: number, ...(await measure(job)) } });
} catch (error) {
  const reason = String(error?.message ?? error).replace(/\s+/g, " ").slice(0, 500);
  tell({ kind: "result", result: { job: number, status: "not run", reason } });
}
