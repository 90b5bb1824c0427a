/**
 * Keeps one process of the name server running beside skepd: takes over the one that is there, starts
 * one where there is none, replaces one of another build or one that stands still, and feeds it.
 *
 * One follows another without a gap: the new one gets all names and opens its own doors while the former
 * still answers; only then the former lets go.
 */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Clock, Timer } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import type { Logger } from '../../observe/logger.js';
import {
  NAME_APPLY_MS,
  NAME_END_TIMEOUT_MS,
  NAME_LEAVE_TIMEOUT_MS,
  NAME_RESTART_DELAYS_MS,
  NAME_WATCH_MISSES,
  NAME_WATCH_PERIOD_MS,
} from '../limits.js';
import { nameServerBuild } from './build.js';
import {
  type DumpedNetwork,
  isNameServer,
  killNameServer,
  NameConnection,
  removeSocket,
  socketsIn,
  startNameServer,
} from './name-connection.js';
import { NameFeed, type WantedNames } from './name-feed.js';
import { type LogMessage, NAME_PROTOCOL, type NamedContainer } from './protocol.js';

/** What a node's networking asks of its name server. */
export interface NodeNames {
  /** Takes over or starts the process. Resolves with what a former skepd had told it. Never throws. */
  start(): Promise<readonly DumpedNetwork[]>;
  /** All names there are. */
  want(wanted: WantedNames): void;
  /** All containers that are to have names, by id. */
  wantContainers(containers: ReadonlyMap<string, NamedContainer>): void;
  /** Resolves once what is wanted now is answered to containers, or after {@link NAME_APPLY_MS}. */
  applied(): Promise<void>;
  /** Lets go of the process, which goes on. Idempotent. */
  stop(): void;
  /** Ends the process, after what it has been asked is answered. */
  end(): Promise<void>;
}

/** What it is kept with. */
export interface NameKeeperParts {
  /** For the sockets; made if need be. */
  readonly directory: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Build this skepd comes with; default: that of its own files. */
  readonly build?: string;
  /** Program and arguments; the directory is added. */
  readonly command?: readonly [string, ...string[]];
}

/** A process that answers until another one does. */
interface Former {
  readonly pid: number;
  /** None: it does not react. */
  readonly connection: NameConnection | undefined;
}

interface Waiter {
  readonly mark: number;
  readonly wake: () => void;
}

/**
 * What the process may do: enter namespaces, redirect questions in them, and answer at port 53. Everything
 * else of root is taken from it, since it reads what any container sends.
 */
const CAPABILITIES = '-all,+sys_admin,+net_admin,+net_bind_service';

/** How its Node is called. It holds little: room for what is made while messages are read is kept small. */
export const NAME_SERVER_NODE: readonly [string, ...string[]] = [
  ...(['setpriv', '--no-new-privs', '--bounding-set', CAPABILITIES] as const),
  process.execPath,
  '--max-semi-space-size=2',
];

/** In the compiled sources and in the bundle, where a chunk beside it has this file's code. */
const PROGRAM = fileURLToPath(new URL('process/main.js', import.meta.url));

const COMMAND: readonly [string, ...string[]] = [...NAME_SERVER_NODE, PROGRAM];

/** From `start` to `stop` or `end`. */
export class NameKeeper implements NodeNames {
  private readonly parts: NameKeeperParts;
  private readonly feed = new NameFeed();
  private build = '';
  private running = false;
  private current: NameConnection | undefined;
  private formers: readonly Former[] = [];
  /** An attempt to have a process is under way. */
  private attaching: Promise<void> | undefined;
  private appliedMark = 0;
  /** Marks of former processes mean nothing. */
  private attachedMark = 0;
  private misses = 0;
  /** The last wait ran out, and nothing was applied since: nobody waits again. */
  private isStuck = false;
  private readonly waiters = new Set<Waiter>();
  private failures = 0;
  private attachedMs = 0;
  private watch: Timer | undefined;

  constructor(parts: NameKeeperParts) {
    // Its process has another working directory.
    this.parts = { ...parts, directory: path.resolve(parts.directory) };
  }

  async start(): Promise<readonly DumpedNetwork[]> {
    this.running = true;
    let dumped: readonly DumpedNetwork[] = [];
    try {
      this.build = this.parts.build ?? nameServerBuild(PROGRAM);
      dumped = await this.takeOver(true);
    } catch (error) {
      this.parts.logger.error({ err: SkepError.from(error).message }, 'no name server yet');
    }
    if (this.current === undefined) this.recover();
    this.watchOn();
    return dumped;
  }

  want(wanted: WantedNames): void {
    this.feed.want(wanted);
  }

  wantContainers(containers: ReadonlyMap<string, NamedContainer>): void {
    this.feed.wantContainers(containers);
  }

  async applied(): Promise<void> {
    const { clock } = this.parts;
    const { mark } = this.feed;
    if (!this.running || this.isStuck || this.isApplied(mark)) return;
    await new Promise<void>((resolve) => {
      const timer = clock.setTimer(NAME_APPLY_MS, () => {
        this.isStuck = true;
        waiter.wake();
      });
      const waiter: Waiter = {
        mark,
        wake: () => {
          timer.cancel();
          this.waiters.delete(waiter);
          resolve();
        },
      };
      this.waiters.add(waiter);
    });
  }

  stop(): void {
    this.running = false;
    this.watch?.cancel();
    this.feed.detach();
    this.current?.close();
    this.current = undefined;
    this.letGo();
    for (const waiter of [...this.waiters]) waiter.wake();
  }

  async end(): Promise<void> {
    const { directory } = this.parts;
    this.running = false;
    await this.attaching?.catch(() => undefined);
    const { current } = this;
    this.stop();
    const pids = new Set([
      ...(current === undefined ? [] : [current.pid]),
      ...socketsIn(directory),
    ]);
    await Promise.all([...pids].map(async (pid) => this.retirePid(pid, NAME_LEAVE_TIMEOUT_MS)));
  }

  private letGo(): void {
    for (const { connection } of this.formers) connection?.close();
    this.formers = [];
  }

  private isApplied(mark: number): boolean {
    return this.appliedMark > this.attachedMark && this.appliedMark >= mark;
  }

  /** Looks who is there, and makes the right one current. @throws SkepError */
  private async takeOver(wantsDump: boolean): Promise<readonly DumpedNetwork[]> {
    const { directory, logger } = this.parts;
    const found = await this.findOthers();
    const own = found.find(({ connection }) => connection?.hello.build === this.build);
    const from = own?.connection ?? found.find(({ connection }) => connection)?.connection;
    const dumped = from !== undefined && wantsDump ? await dumpOf(from, logger) : [];
    this.formers = found.filter((each) => each !== own);
    if (own?.connection?.isOpen === true) {
      logger.info({ pid: own.pid }, 'name server taken over');
      // It lives: only the way to it was lost.
      this.failures = Math.min(this.failures, 1);
      this.attach(own.connection);
    } else {
      const started = await startNameServer(directory, this.parts.command ?? COMMAND);
      if (started.hello.protocol !== NAME_PROTOCOL) {
        started.close();
        killNameServer(directory, started.pid);
        throw new SkepError('unavailable', 'the name server on disk is of another version');
      }
      logger.info({ pid: started.pid, replaces: this.formers.length }, 'name server started');
      this.attach(started);
    }
    return dumped;
  }

  /** Processes of this directory, apart from the current one. */
  private async findOthers(): Promise<readonly Former[]> {
    const { directory } = this.parts;
    const others: Former[] = [];
    for (const pid of socketsIn(directory)) {
      try {
        others.push({ pid, connection: await NameConnection.connectTo(directory, pid) });
      } catch {
        if (isNameServer(directory, pid)) others.push({ pid, connection: undefined });
        else removeSocket(directory, pid);
      }
    }
    return others;
  }

  private attach(connection: NameConnection): void {
    if (!this.running) {
      connection.close();
      this.letGo();
      return;
    }
    this.current = connection;
    this.attachedMs = this.parts.clock.monotonicMs();
    this.attachedMark = this.feed.mark;
    this.appliedMark = 0;
    this.misses = 0;
    connection.listen({
      onDrain: () => {
        this.misses = 0;
        this.feed.pump();
      },
      onClose: () => this.lost(connection),
      onReport: (report) => {
        if (report.kind === 'applied') this.reached(report.number);
        else if (report.kind === 'log') this.log(report);
      },
    });
    this.feed.attach(connection);
  }

  /** Everything up to this mark is in force. */
  private reached(mark: number): void {
    this.appliedMark = mark;
    this.misses = 0;
    this.isStuck = false;
    for (const waiter of [...this.waiters]) if (this.isApplied(waiter.mark)) waiter.wake();
    if (this.isApplied(mark) && this.formers.length > 0) {
      const { formers } = this;
      this.formers = [];
      for (const former of formers) void this.retire(former);
    }
  }

  private lost(connection: NameConnection): void {
    if (this.current !== connection) return;
    this.current = undefined;
    this.feed.detach();
    if (!this.running) return;
    this.parts.logger.warn({ pid: connection.pid }, 'the name server is lost');
    const longestMs = NAME_RESTART_DELAYS_MS.at(-1) ?? 0;
    if (this.parts.clock.monotonicMs() - this.attachedMs >= longestMs) this.failures = 0;
    this.recover();
  }

  /** Tries until a process is current. */
  private recover(): void {
    if (this.attaching !== undefined || !this.running) return;
    const last = NAME_RESTART_DELAYS_MS.length - 1;
    const delayMs = NAME_RESTART_DELAYS_MS[Math.min(this.failures, last)] ?? 0;
    this.failures += 1;
    this.attaching = new Promise<void>((resolve) => {
      this.parts.clock.setTimer(delayMs, resolve);
    })
      .then(async () => {
        if (this.running) await this.takeOver(false);
      })
      .catch((error: unknown) => {
        this.parts.logger.error({ err: SkepError.from(error).message }, 'no name server');
      })
      .finally(() => {
        this.attaching = undefined;
        if (this.current === undefined) this.recover();
      });
  }

  /** A sign of life is asked for, and counted by turns: a skepd that was halted has missed none. */
  private watchOn(): void {
    if (!this.running) return;
    this.watch = this.parts.clock.setTimer(NAME_WATCH_PERIOD_MS, () => {
      this.watchOn();
      const { current } = this;
      if (current === undefined) return;
      if (this.misses < NAME_WATCH_MISSES) {
        if (this.feed.knock()) this.misses += 1;
        return;
      }
      this.parts.logger.error({ pid: current.pid }, 'the name server stands still: replaced');
      this.current = undefined;
      this.feed.detach();
      current.close();
      this.recover();
    });
  }

  /** The doors of its successor are open: it lets go. One that does not react is ended. */
  private async retire({ pid, connection }: Former): Promise<void> {
    connection?.close();
    if (connection === undefined) killNameServer(this.parts.directory, pid);
    else await this.retirePid(pid, NAME_END_TIMEOUT_MS);
    this.parts.logger.info({ pid }, 'former name server ended');
  }

  private async retirePid(pid: number, timeoutMs: number): Promise<void> {
    const { directory, clock } = this.parts;
    try {
      const connection = await NameConnection.connectTo(directory, pid);
      await new Promise<void>((resolve) => {
        const timer = clock.setTimer(timeoutMs, resolve);
        connection.listen({
          onReport: () => undefined,
          onDrain: () => undefined,
          onClose: () => {
            timer.cancel();
            resolve();
          },
        });
        connection.write({ kind: 'retire' });
      });
      connection.close();
    } catch {
      // It has ended, or does not react.
    }
    killNameServer(directory, pid);
  }

  private log({ level, fields, message }: LogMessage): void {
    this.parts.logger[level]({ ...fields, process: 'names' }, message);
  }
}

async function dumpOf(
  connection: NameConnection,
  logger: Logger,
): Promise<readonly DumpedNetwork[]> {
  try {
    return await connection.dump();
  } catch (error) {
    const err = SkepError.from(error).message;
    logger.warn({ err }, 'names of the former skepd are not known');
    return [];
  }
}
