// Byte-level byte-pair encoding, as lmbook/text/bpe.py: the same ids for every text.

// GPT2_PATTERN: white space and letters as Unicode has them, which is not what JavaScript's own \s and \S mean.
const PIECES =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

export class BPE {
  /** tokens: the bytes of each token by id; merges: [left, right, merged], earliest first. */
  constructor({ tokens, merges, special_tokens }) {
    this.bytes = tokens.map((bytes) => Uint8Array.from(bytes));
    for (const [text, id] of Object.entries(special_tokens)) this.bytes[id] = new TextEncoder().encode(text);
    this.special = new Set(Object.values(special_tokens));
    this.byte_ids = new Map();
    tokens.forEach((bytes, id) => { if (bytes.length === 1) this.byte_ids.set(bytes[0], id); });
    this.ranks = new Map(merges.map(([left, right, merged], rank) => [`${left} ${right}`, { rank, merged }]));
  }

  encode(text) {
    return (text.match(PIECES) ?? []).flatMap((piece) => this.encode_piece(piece));
  }

  /** Join the pair with the earliest merge, the leftmost first, until no pair is left that has one. */
  encode_piece(piece) {
    const ids = Array.from(new TextEncoder().encode(piece), (byte) => this.byte_ids.get(byte));
    for (;;) {
      let best = null, place = 0;
      for (let i = 0; i + 1 < ids.length; i++) {
        const found = this.ranks.get(`${ids[i]} ${ids[i + 1]}`);
        if (found && (!best || found.rank < best.rank)) [best, place] = [found, i];
      }
      if (!best) return ids;
      ids.splice(place, 2, best.merged);
    }
  }

  /** The text of some ids; bytes that are no whole character become "\ufffd". */
  decode(ids) {
    const bytes = ids.flatMap((id) => [...this.bytes[id]]);
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
  }
}
