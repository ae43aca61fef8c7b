// Runs an exported ONNX file with onnxruntime-web, the runtime of browsers, in Node:
//   node onnxruntime_web.mjs FOLDER MODEL IN.raw OUT.raw HEIGHT WIDTH RUNS
// FOLDER: where `npm install onnxruntime-web` was run. IN.raw, OUT.raw: float32 pixels of one image, RGB 0..255.
// Prints the seconds of each run as JSON; the first one warms up.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const [folder, model, inputPath, outputPath, height, width, runs] = process.argv.slice(2);
const ort = createRequire(path.resolve(folder, 'index.js'))('onnxruntime-web');
const session = await ort.InferenceSession.create(fs.readFileSync(model), { executionProviders: ['wasm'] });
const raw = fs.readFileSync(inputPath);
const pixels = new Float32Array(raw.buffer, raw.byteOffset, raw.byteLength / 4);
const X = new ort.Tensor('float32', pixels, [1, Number(height), Number(width), 3]);
const seconds = [];
let stylized;
for (let run = 0; run <= Number(runs); run++) {
  const start = performance.now();
  stylized = (await session.run({ X })).g;
  seconds.push((performance.now() - start) / 1000);
}
fs.writeFileSync(outputPath, new Uint8Array(stylized.data.buffer, stylized.data.byteOffset, stylized.data.byteLength));
console.log(JSON.stringify(seconds.slice(1)));
process.exit(0); // its threads would keep the process
