// From a file's outputs to detections: boxes (left, top, right, bottom) in 0..1 of the network's input, best first.

const LAYOUTS = {
  onnx: (job, outputs) => listed(outputs, [0, 1, 2, 3]),
  postprocess: (job, outputs) => listed(outputs, [1, 0, 3, 2]),
  encodings: decoded,
};

export function readDetections(job, outputs, context) {
  return LAYOUTS[job.layout](job, outputs, context);
}

/** Four outputs: the file suppresses. */
function listed(outputs, order) {
  const found = { boxes_xyxy_unit: [], scores: [], class_ids: [] };
  for (let k = 0; k < Number(outputs.num_detections[0]); k++) {
    found.boxes_xyxy_unit.push(order.map((side) => outputs.detection_boxes[4 * k + side]));
    found.scores.push(outputs.detection_scores[k]);
    found.class_ids.push(Number(outputs.detection_classes[k]));
  }
  return found;
}

/** Two outputs, encodings and scores: what MediaPipe does with them, each box with its best class. */
function decoded(job, { location, score }, { priors }) {
  const { num_classes, score_min, iou_max, max_detections } = job.suppression;
  const candidates = [];
  for (let k = 0; k < priors.length / 4; k++) {
    const row = score.subarray(k * num_classes, (k + 1) * num_classes);
    const best = row.indexOf(Math.max(...row));
    if (row[best] >= score_min) candidates.push({ score: row[best], classId: best, box: box(location, priors, 4 * k) });
  }
  candidates.sort((a, b) => b.score - a.score);
  const kept = [];
  for (const candidate of candidates) {
    if (kept.length === max_detections) break;
    if (kept.every((other) => overlap(candidate.box, other.box) <= iou_max)) kept.push(candidate);
  }
  return {
    boxes_xyxy_unit: kept.map((one) => one.box),
    scores: kept.map((one) => one.score),
    class_ids: kept.map((one) => one.classId),
  };
}

/** Encodings (dy, dx, dh, dw) relative to a prior (cx, cy, w, h). */
function box(location, priors, at) {
  const [cx, cy, w, h] = priors.subarray(at, at + 4);
  const [dy, dx, dh, dw] = location.subarray(at, at + 4);
  const [x, y, width, height] = [dx * w + cx, dy * h + cy, Math.exp(dw) * w, Math.exp(dh) * h];
  return [x - width / 2, y - height / 2, x + width / 2, y + height / 2];
}

function overlap(a, b) {
  const width = Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0]));
  const height = Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return (width * height) / Math.max(area(a) + area(b) - width * height, Number.MIN_VALUE);
}
