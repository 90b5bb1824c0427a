/**
 * A program, run as the outside client: a name server that answers every A question with one address, for
 * containers that have it as their own (`--dns`). It ends with its input.
 *   node outside-names.js ADDRESS
 */
import { createSocket } from 'node:dgram';
import { decode, encode } from 'dns-packet';

const [, , address = ''] = process.argv;
const ANSWER = '203.0.113.7';

const socket = createSocket('udp4');
socket.on('message', (message, from) => {
  const { id, questions } = decode(message);
  const [question] = questions ?? [];
  const name = question?.name ?? '';
  const answers =
    question?.type === 'A' ? [{ name, type: 'A' as const, ttl: 0, data: ANSWER }] : [];
  const flags = 0x180;
  const known = questions ?? [];
  const answer = encode({ type: 'response', id: id ?? 0, flags, questions: known, answers });
  socket.send(answer, from.port, from.address);
});
socket.bind(53, address, () => console.log('answering'));
process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
