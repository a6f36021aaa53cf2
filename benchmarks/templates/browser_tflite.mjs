// .tflite files with LiteRT.js.

import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";

const canSuspend = () => typeof WebAssembly.Suspending === "function";

/** Loads a file for the job's backend, "wasm" or "webgpu". */
export async function load(job, bytes) {
  const onGpu = job.backend === "webgpu";
  const wantsThreads = !onGpu && self.crossOriginIsolated && job.threads !== 1;
  const notes = {};
  const most = await start(onGpu, wantsThreads, notes);
  const threads = Math.min(job.threads ?? most, most, job.max_threads);
  const begun = performance.now();
  // Half precision, LiteRT.js's default on the GPU, would be another file than the one that was compared.
  const gpuOptions = { precision: job.precision === "fp16" ? "fp16" : "fp32" };
  const options = { accelerator: job.backend, cpuOptions: { numThreads: threads }, gpuOptions };
  const model = await loadAndCompile(bytes, options).catch((error) => {
    if (!onGpu) throw error;
    const remedy = job.layout === "postprocess" ? "; a file of --tflite-layout mediapipe-gpu has other operators" : "";
    throw new Error(`LiteRT.js cannot put the file on WebGPU${remedy} (${error.message.slice(0, 200)})`);
  });
  if (onGpu && !model.isFullyAccelerated) {
    if (!canSuspend()) throw new Error("WebGPU lacks operators of the file, and this browser cannot divide it (JSPI)");
    notes.WebGPU = "runs a part of the file; WebAssembly runs the rest";
  }
  return {
    name: `LiteRT.js ${job.versions.litertjs}`,
    provider: onGpu ? "WebGPU" : "WebAssembly",
    threads,
    load_ms: performance.now() - begun,
    notes,
    prepare: ({ data, shape }) => new Tensor(data, shape),
    run: (tensor) => run(model, job.input.signature, tensor),
  };
}

/** Starts the library; how many threads it has. */
async function start(onGpu, wantsThreads, notes) {
  const folder = new URL("./litertjs/", import.meta.url).href;
  if (wantsThreads) {
    try {
      return (await loadLiteRt(folder, { threads: true })).liteRtWasm.getThreadCount();
    } catch (error) {
      notes.threads = `one, because LiteRT.js said: ${error.message.slice(0, 200)}`;
    }
  }
  await loadLiteRt(folder, { jspi: onGpu && canSuspend() });
  return 1;
}

async function run(model, name, tensor) {
  const outputs = await model.run({ [name]: tensor });
  const values = {};
  for (const [key, output] of Object.entries(outputs)) {
    values[key] = await output.data(); // a copy, so the tensor can go
    output.delete();
  }
  return values;
}
