/**
 * The gossip core: codecs by byte literal, hostile bytes, seeded simulations of whole rings.
 */
import t from 'tap';
import { runCore } from './core-program.js';

// The first run compiles; later ones find the objects.
const LIMIT_MS = 300_000;
t.setTimeout(LIMIT_MS);

void t.test('gossip core', { timeout: LIMIT_MS }, async (test) => runCore(test));
