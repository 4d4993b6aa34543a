// The page: reads recordings and mels, and shows what worker.js makes of them.
"use strict";
const LONGEST = 60; // seconds; memory grows with them
const element = (id) => document.getElementById(id);
const controls = [element("example"), element("record"), element("file")];
const worker = new Worker("worker.js");
let voice = null;
let recorder = null;

const say = (text) => { element("said").textContent = text; };
const enable = (on) => controls.forEach((control) => { control.disabled = !on; });

worker.onmessage = ({ data }) => {
  if (data.voice) {
    voice = data.voice;
    say("Ready.");
  } else if (data.error) {
    say(data.error);
  } else {
    show(data);
  }
  enable(voice !== null);
};

function show({ mel, remade, audio, seconds, taken }) {
  const rate = voice.sample_rate;
  drawn(element("given"), mel);
  drawn(element("made"), remade);
  element("vocoded").src = URL.createObjectURL(wav(audio, rate));
  element("results").hidden = false;
  say(`${seconds.toFixed(1)} s vocoded in ${taken.toFixed(2)} s: ${(seconds / taken).toFixed(1)} × real time, one thread.`);
}

function drawn(canvas, { values, bands, frames }) {
  canvas.width = frames;
  canvas.height = bands;
  const context = canvas.getContext("2d");
  const image = context.createImageData(frames, bands);
  const low = voice.lowest, range = voice.highest - low;
  for (let band = 0; band < bands; band++) {
    for (let frame = 0; frame < frames; frame++) {
      const level = Math.min(1, Math.max(0, (values[band * frames + frame] - low) / range));
      const at = 4 * ((bands - 1 - band) * frames + frame);
      image.data.set([255 * Math.min(1, 1.6 * level), 255 * level * level, 140 * level * (1.6 - level), 255], at);
    }
  }
  context.putImageData(image, 0, 0);
}

function wav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((c, index) => view.setUint8(at + index, c.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * samples.length, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true);
  view.setUint16(34, 16, true); text(36, "data"); view.setUint32(40, 2 * samples.length, true);
  samples.forEach((x, index) => view.setInt16(44 + 2 * index, Math.max(-32768, Math.min(32767, Math.round(32768 * x))), true));
  return new Blob([view], { type: "audio/wav" });
}

// A .npy file of 32-bit floats, (n_mels, frames).
function npy(buffer) {
  const view = new DataView(buffer), bytes = new Uint8Array(buffer);
  if (bytes[0] !== 0x93) throw new Error("not a .npy file");
  const start = bytes[6] === 1 ? 10 : 12;
  const length = bytes[6] === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const header = new TextDecoder("latin1").decode(bytes.slice(start, start + length));
  const shape = /'shape': \((?:1, )?(\d+), (\d+),?\)/.exec(header);
  if (!/'descr': '<f4'/.test(header) || !shape) {
    throw new Error("the mel must be 32-bit floats of shape (bands, frames)");
  }
  const [bands, frames] = [Number(shape[1]), Number(shape[2])];
  if (bands !== voice.n_mels) throw new Error(`the mel has ${bands} bands, the voice takes ${voice.n_mels}`);
  let values = new Float32Array(buffer.slice(start + length));
  if (/'fortran_order': True/.test(header)) {
    values = Float32Array.from(values, (_, at) => values[(at % frames) * bands + Math.floor(at / frames)]);
  }
  if (values.length !== bands * frames || !values.every(Number.isFinite)) throw new Error("the mel is damaged");
  if (frames * voice.hop_length > LONGEST * voice.sample_rate) throw new Error(`longer than ${LONGEST} s`);
  return { values, bands, frames };
}

async function samplesOf(buffer) {
  const context = new OfflineAudioContext(1, 1, voice.sample_rate); // decodes at the voice's rate
  const decoded = await context.decodeAudioData(buffer);
  if (decoded.duration > LONGEST) throw new Error(`longer than ${LONGEST} s`);
  if (decoded.length < voice.shortest) throw new Error("too short");
  const mixed = new Float32Array(decoded.length);
  for (let channel = 0; channel < decoded.numberOfChannels; channel++) {
    decoded.getChannelData(channel).forEach((x, index) => { mixed[index] += x / decoded.numberOfChannels; });
  }
  return mixed;
}

async function use(buffer, name) {
  enable(false);
  say("Vocoding …");
  try {
    const isMel = name.endsWith(".npy");
    element("before").hidden = isMel;
    if (isMel) {
      worker.postMessage({ mel: npy(buffer) });
      return;
    }
    const audio = await samplesOf(buffer);
    element("heard").src = URL.createObjectURL(wav(audio, voice.sample_rate));
    worker.postMessage({ audio });
  } catch (error) {
    say(`${name}: ${error.message}`);
    enable(true);
  }
}

element("file").onchange = async ({ target }) => {
  const [file] = target.files;
  if (file) await use(await file.arrayBuffer(), file.name);
  target.value = "";
};

element("example").onclick = async () => use(await (await fetch("example.flac")).arrayBuffer(), "example.flac");

element("record").onclick = async () => {
  if (recorder) {
    recorder.stop();
    return;
  }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const parts = [];
    recorder = new MediaRecorder(stream);
    recorder.ondataavailable = ({ data }) => parts.push(data);
    recorder.onstop = async () => {
      stream.getTracks().forEach((track) => track.stop());
      recorder = null;
      element("record").textContent = "Record";
      await use(await new Blob(parts).arrayBuffer(), "recording");
    };
    recorder.start();
    element("record").textContent = "Stop";
    say("Recording …");
  } catch (error) {
    say(`microphone: ${error.message}`);
  }
};
