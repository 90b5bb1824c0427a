/** Labels about names, addresses, published ports, balancing and encryption. */
import { BALANCE_POLICIES, LB_POLICY_LABEL } from '../balance-policy.js';
import { RESERVED_LABEL } from '../fixed-addresses.js';
import { LB_RETURN_LABEL, RETURN_PATHS } from '../return-path.js';
import { HOUR_MS } from '../duration.js';
import type { LabelDefinition } from './definition.js';
import {
  DATA_PATH_FAMILY_LABEL,
  DNS_TTL_LABEL,
  ENCRYPTION_PORT_LABEL,
  ENCRYPTION_ROTATION_LABEL,
} from './keys.js';

/** Its rows of the table. */
export const TRAFFIC_LABELS: readonly LabelDefinition[] = [
  {
    key: DNS_TTL_LABEL,
    objects: ['cluster'],
    value: { type: 'number', min: 0, max: 600 },
    defaultValue: '5',
    live: true,
    meaning:
      'Time to live of answers about names of services and tasks, in seconds: how long clients may ' +
      'keep using the address of a task that is gone.',
  },
  {
    key: DATA_PATH_FAMILY_LABEL,
    objects: ['cluster'],
    value: { type: 'choice', choices: ['ipv4', 'ipv6'] },
    defaultValue: 'ipv4',
    live: false,
    meaning:
      'Address family of tunnels between nodes: that of the data path address of the node that founded ' +
      'the swarm. Set by skepd then, and never changed; nodes that join take an address of it, and ' +
      'are refused without one.',
  },
  {
    key: 'skep.publish.<port>.address',
    objects: ['service'],
    value: { type: 'scope' },
    defaultValue: '',
    live: true,
    meaning:
      'The only address on which the published port answers: an address (other nodes do not ' +
      'publish it), the name of an interface (each node: its addresses there), or `lo` (sockets of ' +
      'each node itself). Not set: every address of every node.',
  },
  {
    key: 'skep.publish.<port>.allow',
    objects: ['service'],
    value: { type: 'networks' },
    defaultValue: '',
    live: true,
    meaning:
      'Client networks that may open connections to the published port, such as ' +
      '`192.0.2.0/24,2001:db8::/32`; sockets of the node asked always may. Not set: everybody.',
  },
  {
    key: LB_POLICY_LABEL,
    objects: ['service'],
    value: { type: 'choice', choices: BALANCE_POLICIES },
    defaultValue: 'maglev',
    live: true,
    meaning:
      'How a new connection gets its task: by a hash of the client\u2019s address and ports ' +
      '(`maglev`) or of its address (`client-ip`), the same on every node; the task with the fewest ' +
      'connections opened on the node asked (`least-conn`); as `maglev` among the tasks of the node ' +
      'asked, others only without these (`local-first`). Stock engines go round.',
  },
  {
    key: LB_RETURN_LABEL,
    objects: ['service'],
    value: { type: 'choice', choices: RETURN_PATHS },
    defaultValue: 'tunnel',
    live: true,
    meaning:
      'How replies of published ports get back from a task on another node than the one asked: ' +
      'through the node asked (`tunnel`), or straight to clients outside (`direct`), under the address ' +
      'they asked. Direct is used only between nodes whose probes show that the network carries it, ' +
      'and for clients that ask a node at its data-path address; `skep net services` says where.',
  },
  {
    key: RESERVED_LABEL,
    objects: ['network'],
    value: { type: 'ranges' },
    defaultValue: '',
    live: false,
    meaning:
      'Addresses of the network (of its `--subnet`) that are given only to services whose labels ask ' +
      'for them, such as `10.0.9.192/26`. See [Fixed addresses](#fixed-addresses).',
  },
  {
    key: 'skep.vip.<network>',
    objects: ['service'],
    value: { type: 'address' },
    defaultValue: '',
    live: true,
    meaning: 'The virtual address of the service on the network, one of those reserved there.',
  },
  {
    key: 'skep.addresses.<network>',
    objects: ['service'],
    value: { type: 'ranges' },
    defaultValue: '',
    live: false,
    meaning:
      'The addresses of its tasks there, of those reserved: slot n gets the nth, as in ' +
      '`10.0.9.210-10.0.9.219`. A change replaces the tasks that have another one, within the update config.',
  },
  {
    key: ENCRYPTION_PORT_LABEL,
    objects: ['node'],
    value: { type: 'number', min: 1024, max: 65_534 },
    defaultValue: '7947',
    live: true,
    meaning:
      'First of the two UDP ports a node uses for encrypted networks (this and the next one). ' +
      'A change makes a new key.',
  },
  {
    key: ENCRYPTION_ROTATION_LABEL,
    objects: ['node'],
    value: { type: 'duration', minMs: 1_000, maxMs: 7 * 24 * HOUR_MS },
    defaultValue: '12h',
    live: true,
    meaning: 'How often a node changes its key for encrypted networks.',
  },
];
