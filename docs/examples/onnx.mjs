// A mel to speech with JavaScript: node onnx.mjs voice.onnx mel.npy out.wav
//
// `npm install onnxruntime-node`, and `flowvocoder export bundled voice.onnx`. In a browser, "onnxruntime-web" has the same calls.
import { readFileSync, writeFileSync } from "node:fs";
import * as ort from "onnxruntime-node";

const rate = 22050, hop = 256, temperature = 0.95; // `flowvocoder info bundled` prints them
const [model, melFile, out] = process.argv.slice(2);

// NumPy's format: 10 bytes, a header as long as the last two of them say, and the numbers, row after row.
const npy = readFileSync(melFile);
const start = 10 + npy.readUInt16LE(8);
const header = npy.toString("latin1", 10, start);
const [bands, frames] = header.match(/\((\d+), (\d+)\)/).slice(1).map(Number);
if (!header.includes("'<f4'") || !header.includes("'fortran_order': False")) throw new Error(`${melFile}: not float32 by rows`);
const mel = new Float32Array(npy.buffer.slice(npy.byteOffset + start, npy.byteOffset + start + 4 * bands * frames));

// Box and Muller: two uniform numbers are a normal one.
const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
const noise = Float32Array.from({ length: frames * hop }, () => temperature * normal());

const session = await ort.InferenceSession.create(model);
const block = session.inputMetadata.find((input) => input.name === "noise").shape[1];
const { audio } = await session.run({
  mel: new ort.Tensor("float32", mel, [1, bands, frames]),
  noise: new ort.Tensor("float32", noise, [1, block, noise.length / block]),
  length: new ort.Tensor("int64", BigInt64Array.of(BigInt(frames)), [1]),
});

const wav = Buffer.alloc(44 + 2 * audio.data.length);
wav.write("RIFF"), wav.writeUInt32LE(wav.length - 8, 4), wav.write("WAVEfmt ", 8), wav.writeUInt32LE(16, 16);
wav.writeUInt16LE(1, 20), wav.writeUInt16LE(1, 22), wav.writeUInt32LE(rate, 24), wav.writeUInt32LE(2 * rate, 28);
wav.writeUInt16LE(2, 32), wav.writeUInt16LE(16, 34), wav.write("data", 36), wav.writeUInt32LE(wav.length - 44, 40);
audio.data.forEach((sample, i) => wav.writeInt16LE(Math.round(32767 * Math.max(-1, Math.min(1, sample))), 44 + 2 * i));
writeFileSync(out, wav);
console.log(`${out}: ${(audio.data.length / rate).toFixed(2)} s`);
