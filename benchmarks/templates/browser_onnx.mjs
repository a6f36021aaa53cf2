// .onnx files with onnxruntime-web.

const OUTPUTS = ["num_detections", "detection_boxes", "detection_scores", "detection_classes"];

/** Loads a file for the job's backend, "wasm" or "webgpu". */
export async function load(job, bytes) {
  const ort = await import(`onnxruntime-web/${job.backend}`);
  if (job.threads) ort.env.wasm.numThreads = job.threads;
  ort.env.wasm.wasmPaths = { wasm: new URL(`./onnxruntime-web/${job.wasm_file}`, import.meta.url).href };
  ort.env.logLevel = "error";
  const options = { executionProviders: [job.backend] };
  // Starts WebAssembly and the GPU, which is no part of loading a file; a fault of that shows right below.
  await ort.InferenceSession.create(new Uint8Array(4), options).catch(() => {});
  const begun = performance.now();
  const session = await ort.InferenceSession.create(bytes, options);
  return {
    name: `onnxruntime-web ${ort.env.versions.web}`,
    provider: job.backend === "webgpu" ? "WebGPU" : "WebAssembly",
    threads: ort.env.wasm.numThreads ?? 1,
    load_ms: performance.now() - begun,
    notes: {},
    prepare: ({ dtype, data, shape }) => new ort.Tensor(dtype, data, shape),
    run: async (tensor) => {
      const outputs = await session.run({ [job.input.name]: tensor }, OUTPUTS);
      return Object.fromEntries(OUTPUTS.map((name) => [name, outputs[name].data]));
    },
  };
}
