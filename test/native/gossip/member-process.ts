/**
 * A ring member in a process of its own, for tests that kill it: joins, announces one entry, and
 * says "ready".
 */
import { startGossip } from '../../../src/native/gossip.js';
import { optionsFor } from './ring.js';

const [nodeName = '', address = '', seed = '', key = ''] = process.argv.slice(2);
const gossip = startGossip(optionsFor(nodeName, address), () => undefined);
await gossip.join([seed]);
gossip.joinNetwork('net');
gossip.putEntry('net', 'endpoints', key, Buffer.from(nodeName));
process.send?.('ready');
process.on('disconnect', () => process.exit(0));
