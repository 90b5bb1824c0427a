/** The task state machine as one table of observed and desired states. */
import { array, assert, boolean, constantFrom, property, tuple } from 'fast-check';
import t from 'tap';
import {
  afterFailure,
  afterSuccess,
  decideNext,
  exitError,
  isTemporary,
} from '../../src/agent/task-state.js';
import { SkepError } from '../../src/model/errors.js';
import { TaskState } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';

const S = TaskState;
const ALL: readonly TaskState[] = [
  S.NEW,
  S.PENDING,
  S.ASSIGNED,
  S.ACCEPTED,
  S.PREPARING,
  S.READY,
  S.STARTING,
  S.RUNNING,
  S.COMPLETE,
  S.SHUTDOWN,
  S.FAILED,
  S.REJECTED,
  S.REMOVE,
  S.ORPHANED,
];

/** Next step by observed state, for each desired state. `accepted` and the like are advances. */
const TABLE: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  READY: {
    NEW: 'accepted',
    PENDING: 'accepted',
    ASSIGNED: 'accepted',
    ACCEPTED: 'preparing',
    PREPARING: 'prepare',
    READY: 'rest',
    STARTING: 'rest',
    RUNNING: 'rest',
  },
  RUNNING: {
    NEW: 'accepted',
    PENDING: 'accepted',
    ASSIGNED: 'accepted',
    ACCEPTED: 'preparing',
    PREPARING: 'prepare',
    READY: 'starting',
    STARTING: 'start',
    RUNNING: 'wait',
  },
};

function stepName(observed: TaskState, desired: TaskState): string {
  const step = decideNext(observed, desired);
  return step.kind === 'advance' ? step.message : step.kind;
}

void t.test('decideNext', async (t) => {
  for (const observed of ALL) {
    const name = S[observed];
    for (const desired of [S.READY, S.RUNNING, S.COMPLETE] as const) {
      const row = TABLE[desired === S.COMPLETE ? 'RUNNING' : S[desired]] ?? {};
      t.equal(stepName(observed, desired), row[name] ?? 'rest', `${name} wants ${S[desired]}`);
    }
    for (const desired of [S.SHUTDOWN, S.REMOVE] as const) {
      const expected = observed <= S.RUNNING ? 'shutdown' : 'rest';
      t.equal(stepName(observed, desired), expected, `${name} wants ${S[desired]}`);
    }
  }
});

void t.test('states only grow, whatever is desired and however steps end', async () => {
  const anyState = constantFrom(...ALL);
  const run = array(tuple(anyState, boolean()), { maxLength: 30 });
  assert(
    property(run, (choices) => {
      let current = { state: S.ASSIGNED, message: '', err: '' };
      for (const [desired, works] of choices) {
        const step = decideNext(current.state, desired);
        if (step.kind === 'rest') continue;
        const next =
          step.kind === 'advance'
            ? { state: step.to, message: step.message, err: '' }
            : works
              ? afterSuccess(step)
              : afterFailure(current, new SkepError('unknown', 'broken'));
        if (next.state <= current.state) return false;
        current = next;
      }
      return true;
    }),
  );
});

void t.test('failures before the start are refusals, later ones failures', async (t) => {
  const error = new SkepError('unknown', 'broken');
  const before = { state: S.PREPARING, message: 'preparing', err: '' };
  t.same(afterFailure(before, error), { state: S.REJECTED, message: 'preparing', err: 'broken' });
  const after = { state: S.STARTING, message: 'starting', err: '' };
  t.same(afterFailure(after, error), { state: S.FAILED, message: 'starting', err: 'broken' });
});

void t.test('texts and kinds of errors', async (t) => {
  t.equal(exitError(3).message, 'task: non-zero exit (3)');
  t.equal(exitError(3, 'why').message, 'task: non-zero exit (3): why');
  t.ok(isTemporary(new SkepError('unavailable', '')));
  t.notOk(isTemporary(new SkepError('not_found', '')));
});
