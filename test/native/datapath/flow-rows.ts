/** The rows of flows as the kernel has them, and making them older than they are. */
import type { WorldNode } from './world.js';

/** A row as bytes in hexadecimal. */
export interface Entry {
  readonly key: readonly string[];
  readonly value: readonly string[];
}

/** Rows of a pinned map as bytes in hexadecimal. */
export function rowsOf(node: WorldNode, map: string): readonly Entry[] {
  const path = `${node.directory}/skep/maps/${map}`;
  return JSON.parse(node.run('bpftool', '-j', 'map', 'dump', 'pinned', path)) as Entry[];
}

/** Makes all flows of a node older: their last packet was so many seconds earlier. */
export function age(node: WorldNode, seconds: number): number {
  let aged = 0;
  for (const map of ['sw_connection', 'sw_opening']) {
    const path = `${node.directory}/skep/maps/${map}`;
    for (const { key, value } of rowsOf(node, map)) {
      const bytes = Buffer.from(value.map((byte) => Number.parseInt(byte, 16)));
      bytes.writeUInt32LE((bytes.readUInt32LE(0) - seconds) >>> 0, 0);
      const hex = (of: Iterable<number>) => [...of].map((byte) => byte.toString(16));
      const keyBytes = key.map((byte) => Number.parseInt(byte, 16));
      const update = ['map', 'update', 'pinned', path, 'key', 'hex', ...hex(keyBytes)];
      node.run('bpftool', ...update, 'value', 'hex', ...hex(bytes));
      aged += 1;
    }
  }
  return aged;
}
