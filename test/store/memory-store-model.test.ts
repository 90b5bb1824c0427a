/** The store against a naive model: any sequence of transactions leaves both in the same state. */
import { deepStrictEqual, equal } from 'node:assert/strict';
import { clone } from '@bufbuild/protobuf';
import * as fc from 'fast-check';
import t from 'tap';
import { SkepError } from '../../src/model/errors.js';
import { ServiceSchema } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { createLocalStore } from '../../src/store/memory-store.js';
import type { StoreEvent } from '../../src/store/types.js';
import { simulatedEnvironment } from '../support/simulated-environment.js';
import { service } from './objects.js';

type Operation = {
  readonly kind: 'create' | 'update' | 'stale' | 'delete';
  readonly id: string;
  readonly name: string;
};

interface ModelObject {
  readonly name: string;
  readonly version: number;
}

const operation: fc.Arbitrary<Operation> = fc.record({
  kind: fc.constantFrom('create', 'create', 'update', 'update', 'stale', 'delete'),
  id: fc.constantFrom('a', 'b', 'c', 'd'),
  name: fc.constantFrom('one', 'ONE', 'two', 'three', ''),
});

/** What the store must do with one operation: the new state, or the text of the refusal. */
function modelStep(state: Map<string, ModelObject>, step: Operation): string | undefined {
  const stored = state.get(step.id);
  if (step.kind === 'create' && stored !== undefined) return 'object already exists';
  if (step.kind !== 'create' && stored === undefined) return 'object does not exist';
  if (step.kind === 'delete') {
    state.delete(step.id);
    return undefined;
  }
  if (step.kind === 'stale') return 'update out of sequence';
  for (const [id, other] of state) {
    const same = other.name.toLowerCase() === step.name.toLowerCase();
    if (id !== step.id && step.name !== '' && same) return 'name conflicts with an existing object';
  }
  state.set(step.id, { name: step.name, version: stored?.version ?? 0 });
  return undefined;
}

/** Runs the operations of one transaction on the model; a refusal undoes all of them. */
function modelTransaction(
  state: Map<string, ModelObject>,
  steps: readonly Operation[],
  index: number,
): { readonly state: Map<string, ModelObject>; readonly refusal: string | undefined } {
  const next = new Map(state);
  const touched = new Set<string>();
  for (const step of steps) {
    const refusal = modelStep(next, step);
    if (refusal !== undefined) return { state, refusal };
    touched.add(step.id);
  }
  for (const [id, object] of next) {
    if (touched.has(id)) next.set(id, { ...object, version: index });
  }
  return { state: next, refusal: undefined };
}

void t.test('transactions agree with a map that is copied for each of them', async (t) => {
  const property = fc.asyncProperty(
    fc.array(fc.array(operation, { minLength: 1, maxLength: 4 }), { maxLength: 30, size: 'max' }),
    async (transactions) => {
      const { store } = createLocalStore(simulatedEnvironment(1), { freezeObjects: true });
      const replica = new Map<string, string>();
      store.subscribe((events) => events.forEach((event) => follow(replica, event)));
      let model = new Map<string, ModelObject>();
      let index = 0;
      for (const steps of transactions) {
        const expected = modelTransaction(model, steps, index + 1);
        let refusal: string | undefined;
        try {
          await store.update((tx) => {
            for (const { kind, id, name } of steps) {
              const stored = tx.get('service', id);
              if (kind === 'create') tx.create('service', service(id, name));
              else if (kind === 'delete') tx.delete('service', id);
              else {
                const copy =
                  stored === undefined ? service(id, name) : clone(ServiceSchema, stored);
                if (copy.spec?.annotations !== undefined) copy.spec.annotations.name = name;
                if (kind === 'stale')
                  copy.meta = {
                    $typeName: 'docker.swarmkit.v1.Meta',
                    version: { $typeName: 'docker.swarmkit.v1.Version', index: 99_999n },
                  };
                tx.update('service', copy);
              }
            }
          });
          index += 1;
        } catch (error) {
          refusal = SkepError.from(error).message;
        }
        model = expected.state;
        equal(refusal, expected.refusal);
        const found = store.view((tx) => tx.find('service', { by: 'all' }));
        const actual = found.map((one) => [
          one.id,
          one.spec?.annotations?.name,
          Number(one.meta?.version?.index),
        ]);
        const wanted = [...model].map(([id, one]) => [id, one.name, one.version]);
        wanted.sort((a, b) => String(a[0]).localeCompare(String(b[0])));
        deepStrictEqual(actual, wanted);
        deepStrictEqual(
          [...replica].sort(([a], [b]) => a.localeCompare(b)),
          wanted.map(([id, name]) => [id, name]),
        );
        for (const [id, one] of model) {
          if (one.name === '') continue;
          const byName = store.view((tx) => tx.find('service', { by: 'name', name: one.name }));
          deepStrictEqual(
            byName.map((other) => other.id),
            [id],
          );
        }
      }
    },
  );
  await t.resolves(fc.assert(property, { numRuns: 150, seed: 20260101 }));
});

function follow(replica: Map<string, string>, event: StoreEvent): void {
  if (event.table !== 'service') return;
  if (event.kind === 'remove') replica.delete(event.object.id);
  else replica.set(event.object.id, event.object.spec?.annotations?.name ?? '');
}
