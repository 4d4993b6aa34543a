// Mel and synthesis in ONNX Runtime, away from the page's own thread.
"use strict";
importScripts("ort.wasm.min.js");
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("./", self.location.href).href;
let voice, front, synthesis;

async function load() {
  voice = await (await fetch("voice.json")).json();
  front = await ort.InferenceSession.create("mel.onnx");
  synthesis = await ort.InferenceSession.create("voice.onnx");
  await vocoded({ values: new Float32Array(16 * voice.n_mels).fill(voice.lowest), bands: voice.n_mels, frames: 16 });
  postMessage({ voice });
}

async function melOf(audio) {
  const hop = voice.hop_length, whole = new Float32Array(Math.ceil(audio.length / hop) * hop);
  whole.set(audio);
  const { mel } = await front.run({ audio: new ort.Tensor("float32", whole, [1, whole.length]) });
  return { values: mel.data, bands: mel.dims[1], frames: mel.dims[2] };
}

async function vocoded({ values, bands, frames }) {
  const blocks = frames * voice.hop_length / voice.block;
  const { audio } = await synthesis.run({
    mel: new ort.Tensor("float32", values, [1, bands, frames]),
    noise: new ort.Tensor("float32", noise(voice.block * blocks), [1, voice.block, blocks]),
    length: new ort.Tensor("int64", BigInt64Array.from([BigInt(frames)]), [1]),
  });
  return audio.data;
}

// Normal numbers times the voice's temperature (Box and Muller 1958).
function noise(count) {
  const drawn = new Float32Array(count);
  for (let index = 0; index < count; index += 2) {
    const radius = voice.temperature * Math.sqrt(-2 * Math.log(1 - Math.random())), angle = 2 * Math.PI * Math.random();
    drawn[index] = radius * Math.cos(angle);
    if (index + 1 < count) drawn[index + 1] = radius * Math.sin(angle);
  }
  return drawn;
}

self.onmessage = async ({ data }) => {
  try {
    const mel = data.mel ?? await melOf(data.audio);
    const started = performance.now();
    let audio = await vocoded(mel);
    const taken = (performance.now() - started) / 1000, seconds = audio.length / voice.sample_rate;
    const remade = await melOf(audio);
    if (data.audio) audio = audio.slice(0, data.audio.length);
    postMessage({ mel, remade, audio, seconds, taken });
  } catch (error) {
    postMessage({ error: `${error.message ?? error}` });
  }
};

load().catch((error) => postMessage({ error: `the voice cannot be loaded: ${error.message ?? error}` }));
