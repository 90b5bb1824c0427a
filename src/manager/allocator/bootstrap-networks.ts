/**
 * The networks a swarm has from the start: `ingress`, which users may replace, and the predefined
 * `bridge` and `host`, which they may not (SwarmKit manager.becomeLeader).
 */
import { create } from '@bufbuild/protobuf';
import { PREDEFINED_NETWORK_LABEL } from '../../model/defaults.js';
import type { Environment } from '../../model/environment.js';
import { type Network, NetworkSchema } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { newId } from '../../model/ids.js';
import type { ReadTransaction, WriteTransaction } from '../../store/types.js';

const PREDEFINED = ['bridge', 'host'];

/** Names of the networks that {@link createBootstrapNetworks} would create. */
export function missingBootstrapNetworks(transaction: ReadTransaction): readonly string[] {
  const missing = PREDEFINED.filter((name) => !exists(transaction, name));
  // Without any predefined network the cluster is new; later the user decides about ingress.
  return missing.length === PREDEFINED.length && !hasIngress(transaction)
    ? ['ingress', ...missing]
    : missing;
}

/** Creates what a new cluster needs; does nothing in an old one. */
export function createBootstrapNetworks(
  transaction: WriteTransaction,
  environment: Environment,
): void {
  for (const name of missingBootstrapNetworks(transaction)) {
    const id = newId(environment.random);
    transaction.create('network', name === 'ingress' ? ingress(id) : predefined(id, name));
  }
}

function exists(transaction: ReadTransaction, name: string): boolean {
  return transaction.find('network', { by: 'name', name }).length > 0;
}

function hasIngress(transaction: ReadTransaction): boolean {
  return transaction.find('network', { by: 'all' }).some(({ spec }) => spec?.ingress === true);
}

function ingress(id: string): Network {
  return create(NetworkSchema, {
    id,
    spec: {
      annotations: { name: 'ingress' },
      ingress: true,
      driverConfig: {},
      ipam: { driver: {} },
    },
  });
}

function predefined(id: string, name: string): Network {
  const annotations = { name, labels: { [PREDEFINED_NETWORK_LABEL]: 'true' } };
  return create(NetworkSchema, { id, spec: { annotations, driverConfig: { name } } });
}
