/** When another address of the host counts. */
import t from 'tap';
import { AddressWatch } from '../../src/daemon/address-watch.js';
import type { NodeState } from '../../src/daemon/node-state.js';
import { simulatedEnvironment } from '../support/simulated-environment.js';

const RECORDED = { LocalAddr: '192.0.2.1' } as NodeState;

void t.test('a change of addresses counts once it has lasted', (t) => {
  const { clock } = simulatedEnvironment(1);
  let recorded: NodeState | undefined = RECORDED;
  let present = RECORDED;
  let moves = 0;
  const watch = new AddressWatch({
    clock,
    recorded: () => recorded,
    present: () => present,
    onMoved: () => {
      moves++;
      recorded = present;
    },
  });
  watch.start();
  const at = (LocalAddr: string): NodeState => ({ ...RECORDED, LocalAddr });
  clock.advance(20_000);
  t.equal(moves, 0);
  present = at('192.0.2.7');
  clock.advance(8_000);
  present = RECORDED;
  clock.advance(20_000);
  t.equal(moves, 0, 'it came back');
  present = at('192.0.2.7');
  clock.advance(8_000);
  present = at('192.0.2.8');
  clock.advance(8_000);
  t.equal(moves, 0, 'it changed once more');
  clock.advance(6_000);
  t.equal(moves, 1);
  clock.advance(60_000);
  t.equal(moves, 1, 'each change once');
  recorded = undefined;
  present = at('192.0.2.9');
  clock.advance(60_000);
  t.equal(moves, 1, 'nothing while there is no node');
  recorded = RECORDED;
  watch.stop();
  clock.advance(60_000);
  t.equal(moves, 1);
  t.end();
});
