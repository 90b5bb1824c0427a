/**
 * The few netfilter rules the data path needs, in one table of our own: what leaves for the outside
 * is masqueraded, tunnel packets stay out of connection tracking, and nobody outside reaches a
 * container past its published ports. Everything else never sees netfilter.
 */
import { spawnSync } from 'node:child_process';
import { SkepError } from '../model/errors.js';

const TABLE = 'inet skep';
const HOST_DEVICE = 'sw-h0';
const COMMAND_TIMEOUT_MS = 10_000;
/** One command a family; an engine that does IPv6 restricts forwarding of it in the same way. */
const COMMANDS = ['iptables', 'ip6tables'] as const;
type Iptables = (typeof COMMANDS)[number];

/** The table for a tunnel port, as nft reads it. Exported for the test that shows it to an operator. */
export function ruleset(tunnelPort: number): string {
  return [
    `table ${TABLE} {`,
    '  chain untracked_in {',
    '    type filter hook prerouting priority raw; policy accept;',
    `    udp dport ${tunnelPort} notrack`,
    '  }',
    '  chain untracked_out {',
    '    type filter hook output priority raw; policy accept;',
    `    udp dport ${tunnelPort} notrack`,
    '  }',
    '  chain forward {',
    '    type filter hook forward priority filter; policy accept;',
    `    iifname "${HOST_DEVICE}" oifname "${HOST_DEVICE}" drop`,
    `    oifname "${HOST_DEVICE}" ct state established,related accept`,
    `    oifname "${HOST_DEVICE}" drop`,
    '  }',
    '  chain outgoing {',
    '    type nat hook postrouting priority srcnat; policy accept;',
    `    iifname "${HOST_DEVICE}" oifname != "${HOST_DEVICE}" masquerade`,
    '  }',
    '}',
  ].join('\n');
}

/** Puts the table in force, replacing a former one in one transaction. @throws SkepError */
export function installRules(tunnelPort: number): void {
  nft(`table ${TABLE}\ndelete table ${TABLE}\n${ruleset(tunnelPort)}\n`);
  for (const command of COMMANDS) {
    if (!forwardingIsRestricted(command)) continue;
    for (const rule of FORWARD_RULES) {
      if (!iptables(command, '-C', rule) && !iptables(command, '-I', rule)) {
        throw new SkepError(
          'failed_precondition',
          `${command} refused a rule in its FORWARD chain`,
        );
      }
    }
  }
}

/** True if iptables' FORWARD chain holds anything; without iptables nobody's policy is in our way. */
function forwardingIsRestricted(command: Iptables): boolean {
  const result = spawnSync(command, ['-w', '5', '-S', 'FORWARD'], {
    encoding: 'utf8',
    timeout: COMMAND_TIMEOUT_MS,
  });
  if (result.error !== undefined || result.status !== 0) return false;
  return result.stdout.trim() !== '-P FORWARD ACCEPT';
}

/** Takes the table and the iptables rules out. No error if they are gone. @throws SkepError */
export function removeRules(): void {
  nft(`table ${TABLE}\ndelete table ${TABLE}\n`);
  for (const command of COMMANDS) {
    if (!forwardingIsRestricted(command)) continue;
    for (const rule of FORWARD_RULES) {
      while (iptables(command, '-C', rule)) if (!iptables(command, '-D', rule)) break;
    }
  }
}

/** Docker Engine sets the policy of iptables' FORWARD chain to DROP; these let our traffic through it. */
const FORWARD_RULES: readonly (readonly string[])[] = [
  ['-i', HOST_DEVICE, '-j', 'ACCEPT'],
  ['-o', HOST_DEVICE, '-m', 'conntrack', '--ctstate', 'ESTABLISHED,RELATED', '-j', 'ACCEPT'],
];

/** Runs one iptables command on FORWARD; true if it succeeded. */
function iptables(command: Iptables, verb: '-C' | '-I' | '-D', rule: readonly string[]): boolean {
  const result = spawnSync(command, ['-w', '5', verb, 'FORWARD', ...rule], {
    stdio: 'ignore',
    timeout: COMMAND_TIMEOUT_MS,
  });
  return result.error === undefined && result.status === 0;
}

function nft(script: string): void {
  const result = spawnSync('nft', ['-f', '-'], {
    input: script,
    encoding: 'utf8',
    timeout: COMMAND_TIMEOUT_MS,
  });
  if (result.error !== undefined) {
    throw new SkepError('failed_precondition', `nft cannot be run: ${result.error.message}`, {
      cause: result.error,
    });
  }
  if (result.status !== 0) {
    throw new SkepError('failed_precondition', `nft refused the rules: ${result.stderr.trim()}`);
  }
}
