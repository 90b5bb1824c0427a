/**
 * A ring member in a process of its own, for tests that kill it: joins, announces one entry, and
 * says "ready".
 */
import { startGossip } from '../../../src/native/gossip.js';
import { optionsFor } from './ring.js';

// The last two: what a stock serf agent as ring mate wants, and its key in hex, if it has one.
const [nodeName = '', address = '', seed = '', key = '', mate = '', secret = ''] =
  process.argv.slice(2);
const keys = secret === '' ? [] : [Buffer.from(secret, 'hex')];
const overrides = mate === 'serf' ? ({ delegate: 'serf', profile: 'lan', keys } as const) : {};
const gossip = startGossip(optionsFor(nodeName, address, overrides), () => undefined);
await gossip.join([seed]);
gossip.joinNetwork('net');
gossip.putEntry('net', 'endpoints', key, Buffer.from(nodeName));
process.send?.('ready');
process.on('disconnect', () => process.exit(0));
