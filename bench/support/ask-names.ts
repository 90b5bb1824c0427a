/**
 * A program, run in a container's network namespace: asks a name server for one name, one question
 * after the other, and prints how long the answers took.
 *   node ask-names.js SERVER NAME COUNT
 */
import { createSocket } from 'node:dgram';
import { encode } from 'dns-packet';

const [server = '', name = '', countText = ''] = process.argv.slice(2);
const LIMIT_MS = 2000;
const WARM_UP = 50;

const socket = createSocket('udp4');
await new Promise<void>((resolve) => socket.connect(53, server, resolve));

/** Milliseconds until the answer; NaN if none came. @throws if the answer has no address */
async function ask(id: number): Promise<number> {
  const questions = [{ type: 'A', name } as const];
  const beganMs = performance.now();
  return await new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(Number.NaN), LIMIT_MS);
    socket.once('message', (answer) => {
      const tookMs = performance.now() - beganMs;
      clearTimeout(timer);
      if (answer.readUInt16BE(6) === 0) reject(new Error(`no address for ${name}`));
      else resolve(tookMs);
    });
    socket.send(encode({ type: 'query', id, flags: 0x100, questions }));
  });
}

const took: number[] = [];
for (let index = 0; index < WARM_UP + Number(countText); index += 1) {
  const ms = await ask(index & 0xffff);
  if (index >= WARM_UP) took.push(ms);
}
took.sort((a, b) => a - b);
const at = (share: number): number => took[Math.floor(share * (took.length - 1))] ?? Number.NaN;
console.log(JSON.stringify({ p50Ms: at(0.5), p99Ms: at(0.99) }));
socket.close();
