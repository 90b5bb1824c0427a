#!/usr/bin/env node
/**
 * The `skep` command: the daemon, and the few things the stock docker CLI has no command for.
 */
import { Command, InvalidArgumentError, Option } from 'commander';
import { DAEMON_DEFAULTS, type DaemonOptions } from '../daemon/options.js';
import { SkepError } from '../model/errors.js';
import type { LogLevel } from '../observe/logger.js';
import type { ImportFlags } from './import.js';
import { stackCommand } from './stack/command.js';
import { getClusterSettings, setClusterSetting } from './cluster-settings.js';
import {
  netConnections,
  netCounters,
  netPaths,
  netServices,
  netTrace,
  type TraceOptions,
} from './net.js';

const LOG_LEVELS: readonly LogLevel[] = ['fatal', 'error', 'warn', 'info', 'debug', 'trace'];

function parsePort(value: string): number {
  const port = Number(value);
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new InvalidArgumentError('must be a port number');
  return port;
}

/** dockerd's check of a term; what terms mean together is checked at start. */
function addGenericResource(value: string, before: readonly string[]): readonly string[] {
  if (!value.includes('=')) {
    const text = `invalid node-generic-resource format \`${value}\` expected \`name=value\``;
    throw new InvalidArgumentError(text);
  }
  return [...before, value];
}

function daemonCommand(): Command {
  const defaults = DAEMON_DEFAULTS;
  return new Command('daemon')
    .description('run skepd beside the Docker Engine of this host')
    .option('--state-dir <path>', 'where everything durable is kept', defaults.stateDir)
    .option('--engine-socket <path>', 'socket of the Docker Engine', defaults.engineSocket)
    .option('--api-socket <path>', 'socket to serve the Docker API on', defaults.apiSocket)
    .option('--listen-addr <address>', 'default of `swarm init` and `join`', defaults.listenAddr)
    .option('--advertise-addr <address>', 'default of `swarm init` and `join`', '')
    .option('--data-path-addr <address>', 'default of `swarm init` and `join`', '')
    .option('--data-path-port <port>', 'default of `swarm init`', parsePort, 0)
    .option('--force-clsact', 'attach programs as on kernels before 6.6', false)
    .option('--pin-dir <path>', 'bpffs directory for pinned BPF objects', defaults.pinDir)
    .option('--secrets-dir <path>', 'on a memory file system', defaults.secretsDir)
    .option('--plugin-socket <path>', 'socket of the network plugin', defaults.pluginSocket)
    .option(
      '--node-generic-resource <name=value>',
      'user-defined resource, `gpu=2` or, once for each, `gpu=ID`',
      addGenericResource,
      defaults.nodeGenericResource,
    )
    .addOption(
      new Option('--log-level <level>', 'least severity logged')
        .choices(LOG_LEVELS)
        .default(defaults.logLevel),
    )
    .action(async (flags: DaemonOptions) => {
      // Loaded only here: the other commands must not pay for it.
      const { runDaemon } = await import('../daemon/run.js');
      process.exitCode = await runDaemon(flags);
    });
}

const socketOption = ['--api-socket <path>', 'socket of skepd', DAEMON_DEFAULTS.apiSocket] as const;

function clusterCommand(): Command {
  const cluster = new Command('cluster').description(
    'settings of the cluster that Swarm has no field for (docs/labels.md)',
  );
  cluster
    .command('get')
    .argument('[key]', 'one setting; all when absent')
    .option(...socketOption)
    .action(async (key: string | undefined, options: { apiSocket: string }) => {
      for (const line of await getClusterSettings(options.apiSocket, key)) console.log(line);
    });
  cluster
    .command('set')
    .argument('<key>', 'for example skep.agent_grace')
    .argument('<value>', 'an empty value goes back to the default')
    .option(...socketOption)
    .action(async (key: string, value: string, options: { apiSocket: string }) => {
      await setClusterSetting(options.apiSocket, key, value);
    });
  return cluster;
}

function netCommand(): Command {
  const net = new Command('net').description('what the data path of this node does');
  net
    .command('counters')
    .description('packets by drop reason and by way forwarded, and what had to be repaired')
    .option('--all', 'zeros too', false)
    .option(...socketOption)
    .action(async (options: { apiSocket: string; all: boolean }) => {
      for (const line of await netCounters(options.apiSocket, options.all)) console.log(line);
    });
  net
    .command('paths')
    .description('the paths to the other nodes, as the self-test finds them')
    .option(...socketOption)
    .action(async (options: { apiSocket: string }) => {
      for (const line of await netPaths(options.apiSocket)) console.log(line);
    });
  net
    .command('services')
    .description('virtual addresses and published ports with their backends')
    .option(...socketOption)
    .action(async (options: { apiSocket: string }) => {
      for (const line of await netServices(options.apiSocket)) console.log(line);
    });
  net
    .command('connections')
    .description('flows through services')
    .option('--limit <number>', 'how many at most', '1000')
    .option(...socketOption)
    .action(async (options: { apiSocket: string; limit: string }) => {
      for (const line of await netConnections(options.apiSocket, options.limit)) console.log(line);
    });
  net
    .command('trace')
    .description('follow the packets of a client through the programs of this node')
    .requiredOption('--client <address>', 'address at either end')
    .option('--port <port>', 'port at either end', '')
    .option('--protocol <name>', 'tcp, udp, sctp, icmp or icmpv6', '')
    .option('--seconds <seconds>', 'how long', '10')
    .option(...socketOption)
    .action(async ({ apiSocket, ...options }: TraceOptions & { apiSocket: string }) => {
      await netTrace(apiSocket, options, (line) => console.log(line));
    });
  return net;
}

function backupCommand(): Command {
  return new Command('backup')
    .description('copy the state of this manager into a new file while it runs')
    .argument('<file>', 'must not exist; holds keys, keep it safe')
    .option(...socketOption)
    .action(async (file: string, options: { apiSocket: string }) => {
      await (await import('./backup.js')).backup(options.apiSocket, file);
    });
}

function restoreCommand(): Command {
  return new Command('restore')
    .description('put a backup into a state directory without a swarm, while skepd does not run')
    .argument('<file>', 'written by `skep backup`')
    .option('--state-dir <path>', 'where skepd keeps its state', DAEMON_DEFAULTS.stateDir)
    .action(async (file: string, options: { stateDir: string }) => {
      await (await import('./backup.js')).restore(file, options.stateDir);
    });
}

function importCommand(): Command {
  const collect = (value: string, before: readonly string[]) => [...before, value];
  return new Command('import')
    .description('make what another swarm is made of here too (docs/moving.md)')
    .requiredOption('--from <path>', "a manager's Docker socket, or a file of --save")
    .option('--dry-run', 'print the plan and change nothing', false)
    .option('--save <file>', 'keep what --from says in a new file, and change nothing')
    .option('--secret <name=file>', 'the value of a secret; repeatable', collect, [])
    .option('--secrets <directory>', 'values of secrets, a file for each name')
    .option('--skip <kind/name>', 'leave an object out (service/web); repeatable', collect, [])
    .option(...socketOption)
    .action(async (flags: ImportFlags) => {
      // Loaded only here: it brings a manager's checks along.
      const { runImport } = await import('./import.js');
      process.exitCode = await runImport(flags, (line) => console.log(line));
    });
}

const program = new Command('skep')
  .description('Docker Swarm mode done again; everything else is the stock docker CLI')
  .addCommand(daemonCommand())
  .addCommand(clusterCommand())
  .addCommand(netCommand())
  .addCommand(stackCommand())
  .addCommand(backupCommand())
  .addCommand(restoreCommand())
  .addCommand(importCommand());

try {
  await program.parseAsync(process.argv);
} catch (error) {
  console.error(`skep: ${SkepError.from(error).message}`);
  process.exitCode = 1;
}
