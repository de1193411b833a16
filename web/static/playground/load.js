// The trained model and its tokenizer from model.json and weights.bin, which scripts/playground.py writes.
import { GPT } from "./model.js";
import { BPE } from "./tokenizer.js";

const FORMAT = "lmbook-playground-1";

/** Half-precision numbers (1 bit sign, 5 bits exponent, 10 bits fraction), little-endian, as Float32Array. */
export function widen(buffer, offset, length) {
  const view = new DataView(buffer, offset, 2 * length);
  return Float32Array.from({ length }, (_, i) => {
    const bits = view.getUint16(2 * i, true), exponent = bits >> 10 & 31, fraction = bits & 1023;
    const size = exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24;
    return bits >> 15 ? -size : size;
  });
}

/** Model and tokenizer from what the two files hold; an Error says what is wrong with them. */
export function assemble(description, buffer) {
  if (description.format !== FORMAT) throw new Error(`model.json is not of the format ${FORMAT}`);
  if (buffer.byteLength !== description.bytes) {
    throw new Error(`weights.bin holds ${buffer.byteLength} bytes instead of ${description.bytes}`);
  }
  const tensors = Object.fromEntries(Object.entries(description.tensors).map(([name, { shape, offset }]) =>
    [name, { shape, data: widen(buffer, offset, shape.reduce((a, b) => a * b)) }]));
  return { model: new GPT(description.config, tensors), tokenizer: new BPE(description.tokenizer) };
}

/** Load both files from a folder. The checksum refuses weights of another build, or a part of them. */
export async function load(folder) {
  const get = async (name, options) => {
    const response = await fetch(new URL(name, folder), options);
    if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
    return response;
  };
  const description = await (await get("model.json", { cache: "no-cache" })).json();
  const { integrity } = description;
  const weights = await get(`weights.bin?${encodeURIComponent(integrity)}`, { integrity });
  const n_parameters = description.bytes / 2;
  return { ...assemble(description, await weights.arrayBuffer()), prompts: description.prompts, n_parameters };
}
