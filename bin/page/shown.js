// Escapes text from peers: control characters, direction marks and invisible characters become visible.

const PART = "\\p{Extended_Pictographic}[\\u{FE0F}\\p{Emoji_Modifier}]?";
const SPECIAL = new RegExp(
  `(?<kept>\\n|\\t|${PART}(?:\\u{200D}${PART})*|[0-9#*]\\u{FE0F}\\u{20E3})` +
    "|[\\p{C}\\p{Zl}\\p{Zp}\\p{Default_Ignorable_Code_Point}]",
  "gu",
);

const byteEscape = (byte) => `\\x${byte.toString(16).padStart(2, "0")}`;

function escaped(found, ...rest) {
  if (rest.at(-1).kept !== undefined) {
    return found;
  }
  return found === "\r" ? "\\r" : `\\u{${found.codePointAt(0).toString(16)}}`;
}

/** A text from a peer, with escapes. */
export const shownText = (text) => text.replace(SPECIAL, escaped);

/** The number of bytes of the valid UTF-8 sequence at `at`, or 0. */
function sequence(bytes, at) {
  const first = bytes[at];
  const length = first < 0x80 ? 1 : first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xf0 && first < 0xf5 ? 4 : 0;
  if (length === 0 || at + length > bytes.length) {
    return 0;
  }
  for (let next = 1; next < length; next++) {
    if (bytes[at + next] >> 6 !== 2) {
      return 0;
    }
  }
  const second = bytes[at + 1];
  const bad =
    (first === 0xe0 && second < 0xa0) || (first === 0xed && second > 0x9f) ||
    (first === 0xf0 && second < 0x90) || (first === 0xf4 && second > 0x8f);
  return bad ? 0 : length;
}

/** Bytes from a peer as text, with escapes. Bytes that are not UTF-8 become `\xff`. */
export function shown(bytes) {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  try {
    return shownText(decoder.decode(bytes));
  } catch {
    const parts = [];
    let start = 0;
    let at = 0;
    while (at < bytes.length) {
      const length = sequence(bytes, at);
      if (length === 0) {
        parts.push(shownText(decoder.decode(bytes.subarray(start, at))), byteEscape(bytes[at]));
        start = at + 1;
      }
      at += length || 1;
    }
    parts.push(shownText(decoder.decode(bytes.subarray(start))));
    return parts.join("");
  }
}

/** The first `most` characters of bytes from a peer, and whether that is all of them. */
export function start(bytes, most) {
  const head = bytes.subarray(0, 4 * most + 4);
  // A character that the cut divides is beyond `most`.
  const characters = [...shown(head)];
  const whole = head.length === bytes.length && characters.length <= most;
  return [whole ? characters.join("") : characters.slice(0, most).join("") + "…", whole];
}

export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

export function milliseconds(time) {
  if (time >= 10_000) {
    return `${(time / 1000).toFixed(1)} s`;
  }
  return time < 10 ? `${time.toFixed(1)} ms` : `${Math.round(time)} ms`;
}
