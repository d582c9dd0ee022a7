// Bytes of the wire formats. All integers are big-endian, except the ids of the chat.

const encoder = new TextEncoder();

export const utf8 = (text) => encoder.encode(text);

/** The text of bytes that a server sends in ASCII, such as errors. */
export const ascii = (bytes) => new TextDecoder().decode(bytes);

export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A string that is equal for equal bytes, as the key of a map. */
export function key(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return text;
}

/** The bytes after `prefix`, or null if they start differently. */
export function after(prefix, bytes) {
  const start = utf8(prefix);
  const matches = bytes.length >= start.length && start.every((byte, at) => bytes[at] === byte);
  return matches ? bytes.subarray(start.length) : null;
}

export function u64(number) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, number);
  return bytes;
}

export function readU64(bytes, at) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(at);
}

/** An id of the chat: seven bits in each byte, lowest first. Ids here stay below 2^53. */
export function varint(number) {
  const bytes = [];
  do {
    const rest = Math.floor(number / 128);
    bytes.push((number % 128) + (rest > 0 ? 128 : 0));
    number = rest;
  } while (number > 0);
  return Uint8Array.from(bytes);
}

/** Reads an id of the chat: the id and the bytes after it. */
export function readVarint(bytes) {
  let number = 0;
  for (let at = 0; at < Math.min(bytes.length, 8); at++) {
    number += (bytes[at] % 128) * 128 ** at;
    if (bytes[at] < 128) {
      return [number, bytes.subarray(at + 1)];
    }
  }
  throw new Error("the server sent an id that is not valid");
}

export function random(length) {
  return crypto.getRandomValues(new Uint8Array(length));
}
