/** CRC-32C against the examples of RFC 3720, B.4, and its definition bit by bit. */
import t from 'tap';
import { crc32c } from '../../../src/store/wal/crc32c.js';

function bitByBit(bytes: Uint8Array): number {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return (crc ^ -1) >>> 0;
}

void t.test('examples of the RFC', async (t) => {
  t.equal(crc32c(new Uint8Array(32)), 0x8a9136aa);
  t.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  t.equal(crc32c(Uint8Array.from({ length: 32 }, (_, at) => at)), 0x46dd794e);
});

void t.test('any part of any length', async (t) => {
  const bytes = Uint8Array.from({ length: 64 }, (_, at) => (at * 167 + 13) & 0xff);
  for (let start = 0; start < 9; start++) {
    for (let end = start; end <= bytes.length; end += 3) {
      t.equal(crc32c(bytes, start, end), bitByBit(bytes.subarray(start, end)));
    }
  }
});
