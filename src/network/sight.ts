/**
 * What one node's data path does, for operators: counters, tables, connections, and traces of
 * single flows. Reading disturbs no packet.
 */
import type { Clock } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type {
  ConnectionRow,
  CounterRow,
  Datapath,
  DatapathState,
  TraceFilter,
  TraceRow,
} from '../native/datapath-types.js';
import { TRACE_OTHER_PORTS_MAX, TRACE_PERIOD_MS } from './limits.js';
import type { DirectReturn } from './direct/direct-return.js';
import type { DirectReport } from './direct/types.js';
import type { PathSelfTest } from './paths/self-test.js';
import type { PathReport } from './paths/types.js';
import type { RepairCounts, Repairer } from './repairer.js';
import type { LocalState } from './local-state.js';
import type { NetworkSight, UnreadyTask } from './types.js';

/** What is looked at. */
export interface SightParts {
  readonly datapath: Datapath;
  readonly repairer: Repairer;
  readonly selfTest: PathSelfTest;
  readonly directReturn: DirectReturn;
  readonly clock: Clock;
  readonly state: Pick<LocalState, 'tasks'>;
  readonly gossipCounters: () => Readonly<Record<string, number>>;
}

/** {@link NetworkSight} over a data path. */
export class DatapathSight implements NetworkSight {
  private readonly datapath: Datapath;
  private readonly repairer: Repairer;
  private readonly selfTest: PathSelfTest;
  private readonly directReturn: DirectReturn;
  private readonly clock: Clock;
  private readonly state: Pick<LocalState, 'tasks'>;
  private readonly gossipCounters: () => Readonly<Record<string, number>>;
  private tracing = false;

  constructor(parts: SightParts) {
    this.datapath = parts.datapath;
    this.repairer = parts.repairer;
    this.selfTest = parts.selfTest;
    this.directReturn = parts.directReturn;
    this.clock = parts.clock;
    this.state = parts.state;
    this.gossipCounters = parts.gossipCounters;
  }

  counters(): readonly CounterRow[] {
    return this.datapath.counters();
  }

  gossip(): Readonly<Record<string, number>> {
    return this.gossipCounters();
  }

  repairs(): RepairCounts {
    return this.repairer.counts;
  }

  paths(): PathReport {
    return this.selfTest.report();
  }

  direct(): DirectReport {
    return this.directReturn.report();
  }

  unready(): readonly UnreadyTask[] {
    return [...this.state.tasks.values()].flatMap((task): UnreadyTask[] => {
      const { taskId, taskName, serviceName, attachments, unready, draining } = task;
      if (unready === undefined || draining) return [];
      const addresses = attachments.map(({ address }) => address);
      return [{ taskId, taskName, serviceName, addresses, reason: unready }];
    });
  }

  rows(): DatapathState {
    return this.datapath.dump();
  }

  connections(max: number): readonly ConnectionRow[] {
    return this.datapath.connections(max);
  }

  /** @throws SkepError already_exists while another trace runs */
  trace(filter: TraceFilter, signal: AbortSignal): AsyncIterable<readonly TraceRow[]> {
    if (this.tracing)
      throw new SkepError('already_exists', 'another trace is running on this node');
    this.tracing = true;
    try {
      this.datapath.startTrace(this.withTargets(filter));
    } catch (error) {
      this.tracing = false;
      throw error;
    }
    return this.batches(signal);
  }

  /** A container answers from its own port, not from the published one. */
  private withTargets(filter: TraceFilter): TraceFilter {
    const targets = new Set<number>();
    for (const { key, ports = 1, targetPort } of this.datapath.dump().services) {
      if (filter.port === 0 || key.kind === 'vip' || targetPort === undefined) continue;
      const offset = filter.port - key.port;
      if (offset >= 0 && offset < ports) targets.add(targetPort + offset);
    }
    targets.delete(filter.port);
    return { ...filter, otherPorts: [...targets].slice(0, TRACE_OTHER_PORTS_MAX) };
  }

  private async *batches(signal: AbortSignal): AsyncIterable<readonly TraceRow[]> {
    try {
      while (!signal.aborted) {
        await this.pause(signal);
        const { rows } = this.datapath.readTrace();
        if (rows.length > 0) yield rows;
      }
    } finally {
      this.datapath.stopTrace();
      this.tracing = false;
    }
  }

  private async pause(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = () => {
        timer.cancel();
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = this.clock.setTimer(TRACE_PERIOD_MS, done);
      signal.addEventListener('abort', done);
    });
  }
}
