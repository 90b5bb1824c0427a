/**
 * Brings the packet side from what is in force to what is wanted, writing only differences and in
 * the order that keeps every step usable: what is named comes before what names it, and goes
 * after it.
 */
import { SkepError } from '../model/errors.js';
import type { Datapath, DatapathState } from '../native/datapath-types.js';
import { addressKey, type DesiredDatapath, serviceKeyText } from './desired.js';

/** Rows of one table by identity, as text for comparison beside the row itself. */
type Table<T> = Map<string, { readonly text: string; readonly row: T }>;

interface Tables {
  readonly nodes: Table<DatapathState['nodes'][number]>;
  readonly networks: Table<DatapathState['networks'][number]>;
  readonly remoteEndpoints: Table<DatapathState['remoteEndpoints'][number]>;
  readonly backends: Table<DatapathState['backends'][number]>;
  readonly services: Table<DatapathState['services'][number]>;
}

interface Difference<T> {
  readonly put: readonly T[];
  readonly removed: readonly T[];
}

/** Rows written and removed by one pass. */
export interface ReconcileResult {
  readonly written: number;
  readonly removed: number;
}

const NOTHING: ReconcileResult = { written: 0, removed: 0 };

/** Owns all writes of tables to one data path. */
export class Reconciler {
  private readonly datapath: Datapath;
  /** What is in force; undefined when unknown (at start, after a failed write). */
  private inForce: Tables | undefined;
  private nodeId: string | undefined;

  constructor(datapath: Datapath) {
    this.datapath = datapath;
  }

  /**
   * Writes the differences. @throws SkepError with the data path's own text; the next call then
   * reads back what is in force before it compares.
   */
  apply(desired: DesiredDatapath): ReconcileResult {
    try {
      this.inForce ??= tablesOf(this.datapath.dump());
      return this.write(this.inForce, tablesOf(desired), desired.nodeId);
    } catch (error) {
      this.inForce = undefined;
      throw SkepError.from(error, 'internal');
    }
  }

  /**
   * Compares the kernel's tables with what was last written, and writes what differs: rows that
   * somebody else removed, changed or added. Nothing to do before the first {@link apply}.
   * @throws SkepError with the data path's own text; the next {@link apply} reads back first
   */
  repair(): ReconcileResult {
    const wanted = this.inForce;
    if (wanted === undefined) return NOTHING;
    try {
      return this.write(tablesOf(this.datapath.dump()), wanted, undefined);
    } catch (error) {
      this.inForce = undefined;
      throw SkepError.from(error, 'internal');
    }
  }

  private write(now: Tables, wanted: Tables, nodeId: string | undefined): ReconcileResult {
    if (nodeId !== undefined && nodeId !== this.nodeId) {
      this.datapath.setNodeId(nodeId);
      this.nodeId = nodeId;
    }
    const networks = difference(now.networks, wanted.networks);
    const nodes = difference(now.nodes, wanted.nodes);
    const remotes = difference(now.remoteEndpoints, wanted.remoteEndpoints);
    const backends = difference(now.backends, wanted.backends);
    const services = difference(now.services, wanted.services);
    const { datapath } = this;
    put(networks, (rows) => datapath.putNetworks(rows));
    put(nodes, (rows) => datapath.putNodes(rows));
    put(remotes, (rows) => datapath.putRemoteEndpoints(rows));
    put(backends, (rows) => datapath.putBackends(rows));
    put(services, (rows) => datapath.putServices(rows));
    remove(services, (rows) => datapath.removeServices(rows.map(({ key }) => key)));
    remove(backends, (rows) => datapath.removeBackends(rows.map(addressOf)));
    remove(remotes, (rows) => datapath.removeRemoteEndpoints(rows.map(addressOf)));
    remove(nodes, (rows) => datapath.removeNodes(rows.map((row) => row.nodeId)));
    remove(networks, (rows) => datapath.removeNetworks(rows.map((row) => row.vni)));
    this.inForce = wanted;
    const all = [networks, nodes, remotes, backends, services];
    return {
      written: all.reduce((sum, { put: rows }) => sum + rows.length, 0),
      removed: all.reduce((sum, { removed }) => sum + removed.length, 0),
    };
  }
}

function put<T>(rows: Difference<T>, write: (rows: readonly T[]) => void): void {
  if (rows.put.length > 0) write(rows.put);
}

function remove<T>(rows: Difference<T>, write: (rows: readonly T[]) => void): void {
  if (rows.removed.length > 0) write(rows.removed);
}

function addressOf(row: { readonly vni: number; readonly address: string }) {
  return { vni: row.vni, address: row.address };
}

type Rows = Omit<DatapathState, 'links'>;

function tablesOf(rows: Rows): Tables {
  return {
    nodes: table(
      rows.nodes,
      (row) => row.nodeId,
      (row) => `${row.tunnelAddress} ${row.wireguardTunnel ?? ''}`,
    ),
    networks: table(
      rows.networks,
      (row) => String(row.vni),
      ({ subnet, subnet6 = '', gateway, internal, encrypted = false, nodeAddress = '' }) =>
        [subnet, subnet6, gateway, internal, encrypted, nodeAddress].join(' '),
    ),
    remoteEndpoints: table(
      rows.remoteEndpoints,
      addressKey,
      (row) => `${row.mac} ${row.tunnelAddress}`,
    ),
    backends: table(rows.backends, addressKey, (row) => `${row.state} ${row.tunnelAddress ?? ''}`),
    services: table(
      rows.services,
      (row) => serviceKeyText(row.key),
      (row) => {
        // A VIP leaves ports alone; what the map reads back for it does not matter.
        const port = row.key.kind === 'vip' ? '' : String(row.targetPort ?? '');
        const backends = row.backends.map(addressKey).sort().join(' ');
        const allow = row.allow === undefined ? 'all' : [...row.allow].sort().join(',');
        const flags = `${row.addressed ?? false} ${row.retired ?? false} ${row.direct ?? false}`;
        const choice = `${row.ports ?? 1} ${row.policy ?? 'maglev'}`;
        return `${port} ${backends} ${allow} ${flags} ${choice}`;
      },
    ),
  };
}

function table<T>(
  rows: readonly T[],
  keyOf: (row: T) => string,
  textOf: (row: T) => string,
): Table<T> {
  return new Map(rows.map((row) => [keyOf(row), { text: textOf(row), row }]));
}

function difference<T>(now: Table<T>, wanted: Table<T>): Difference<T> {
  const rows: T[] = [];
  const removed: T[] = [];
  for (const [key, { text, row }] of wanted) if (now.get(key)?.text !== text) rows.push(row);
  for (const [key, { row }] of now) if (!wanted.has(key)) removed.push(row);
  return { put: rows, removed };
}
